// The single owner of asking for a passphrase: on the terminal, without showing it.
import { ZtError } from '../error.ts'

const ENTER = new Set(['\r', '\n', '\u0004'])
const ERASE = new Set(['\b', '\u007f'])

/**
 * Asks on standard error and reads from the terminal without echo.
 * @throws ZtError KEY_PASSPHRASE where there is no terminal, INTERRUPTED on Ctrl-C
 */
export async function askPassphrase(question: string): Promise<string> {
  const { stdin, stderr } = process
  if (!stdin.isTTY || !stderr.isTTY)
    throw new ZtError('KEY_PASSPHRASE', 'the key is encrypted and there is no terminal to ask on', {
      hint: 'set ZT4AI_KEY_PASSPHRASE',
    })
  stderr.write(`${question}: `)
  stdin.setRawMode(true)
  stdin.setEncoding('utf8')
  stdin.resume()
  try {
    return await new Promise<string>((resolve, reject) => {
      let typed: string[] = []
      const end = (finish: () => void): void => {
        stdin.off('data', read)
        finish()
      }
      const read = (chunk: string): void => {
        for (const char of chunk) {
          if (ENTER.has(char)) {
            end(() => {
              resolve(typed.join(''))
            })
            return
          }
          if (char === '\u0003') {
            end(() => {
              reject(new ZtError('INTERRUPTED', 'interrupted while asking for the passphrase'))
            })
            return
          }
          if (ERASE.has(char)) typed = typed.slice(0, -1)
          else typed.push(char)
        }
      }
      stdin.on('data', read)
    })
  } finally {
    stdin.setRawMode(false)
    stdin.pause()
    stderr.write('\n')
  }
}
