// A real Chromium for tests, spoken to over its debugging pipe: no package, no port.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']

/** The browser's command; null where there is none. */
export const BROWSER =
  NAMES.find((name) => spawnSync(name, ['--version'], { timeout: 20_000 }).status === 0) ?? null

interface Message {
  readonly id?: number
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly message: string }
}

export interface Page {
  /** Everything that the browser complained about. */
  readonly complaints: readonly string[]
  /** Opens a file in a window of this size. */
  open(url: string, width: number, height: number): Promise<void>
  /** Runs an expression in the page and gives its value. */
  evaluate<T>(expression: string): Promise<T>
  close(): Promise<void>
}

/** Starts the browser with one page. */
export async function startBrowser(command: string): Promise<Page> {
  const profile = mkdtempSync(join(tmpdir(), 'zt4ai-browser-'))
  const child: ChildProcess = spawn(
    command,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      `--user-data-dir=${profile}`,
      '--remote-debugging-pipe',
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] },
  )
  const out = child.stdio[3] as Writable
  const incoming = child.stdio[4] as Readable
  const waiting = new Map<number, (message: Message) => void>()
  const loaded: (() => void)[] = []
  const complaints: string[] = []
  let rest = ''
  let last = 0
  incoming.on('data', (chunk: Buffer) => {
    const parts = (rest + chunk.toString('utf8')).split('\0')
    rest = parts.pop() ?? ''
    for (const part of parts) receive(JSON.parse(part) as Message)
  })

  function receive(message: Message): void {
    if (message.id !== undefined) waiting.get(message.id)?.(message)
    else if (message.method === 'Page.loadEventFired') loaded.shift()?.()
    else if (
      ['Log.entryAdded', 'Runtime.exceptionThrown', 'Runtime.consoleAPICalled'].includes(
        message.method ?? '',
      )
    )
      complaints.push(JSON.stringify(message.params))
    else if (message.method === 'Page.javascriptDialogOpening') complaints.push('a dialog opened')
  }

  function send(
    method: string,
    params: Record<string, unknown> = {},
    sessionId?: string,
  ): Promise<Record<string, unknown>> {
    const id = ++last
    const session = sessionId === undefined ? {} : { sessionId }
    return new Promise((resolve, reject) => {
      waiting.set(id, ({ result, error }) => {
        waiting.delete(id)
        if (error === undefined) resolve(result ?? {})
        else reject(new Error(`${method}: ${error.message}`))
      })
      out.write(`${JSON.stringify({ id, method, params, ...session })}\0`)
    })
  }

  const { targetId } = await send('Target.createTarget', { url: 'about:blank' })
  const attached = await send('Target.attachToTarget', { targetId, flatten: true })
  const session = String(attached['sessionId'])
  for (const domain of ['Page', 'Runtime', 'Log']) await send(`${domain}.enable`, {}, session)
  return {
    complaints,
    async open(url, width, height) {
      const metrics = { width, height, deviceScaleFactor: 1, mobile: false }
      await send('Emulation.setDeviceMetricsOverride', metrics, session)
      const done = new Promise<void>((resolve) => loaded.push(resolve))
      await send('Page.navigate', { url }, session)
      await done
    },
    async evaluate<T>(expression: string) {
      const answer = await send('Runtime.evaluate', { expression, returnByValue: true }, session)
      return (answer['result'] as { value: T }).value
    },
    async close() {
      const gone = new Promise((resolve) => child.once('exit', resolve))
      await send('Browser.close').catch(() => child.kill())
      await gone
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}
