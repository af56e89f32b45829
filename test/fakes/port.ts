// The single owner of ports for processes that are told one: below those that the kernel gives to whoever asks for any.
import { createServer } from 'node:net'

/** A free port of 127.0.0.1. Nobody who does not ask for it by number gets it, so it is still free after a restart. */
export async function freePort(): Promise<number> {
  // Test processes run side by side: each begins elsewhere.
  for (let port = 20_000 + (process.pid % 100) * 100; ; port += 1) {
    const server = createServer()
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!free) continue
    await new Promise((resolve) => server.close(resolve))
    return port
  }
}
