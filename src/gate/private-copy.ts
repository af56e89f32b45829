// The single owner of the private copy from outside: a process in its own mount namespace that copies what it hashes, and becomes the program once the verdict says so.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Duplex } from 'node:stream'
import { ZtError } from '../error.ts'
import type { Manifest } from '../model/manifest.ts'
import type { FilesFact } from '../policy/facts.ts'
import type { Progress } from '../model/pool.ts'
import type { CompareRequest, ModelSource } from './question.ts'
import { listKey } from './gather.ts'
import { claimPlace, type Place } from './protect-place.ts'
import { Tools } from './protect-tools.ts'
import { showingIn, type ProtectRequest } from './protect.ts'
import { pathSource } from './source.ts'

/** What the process inside is told, as one line of JSON. */
export interface StagePlan {
  readonly mode: 'private-copy' | 'fsverity'
  readonly path: string
  readonly signatures: readonly string[]
  readonly ignorePaths: readonly string[]
  readonly manifest: Manifest
  /** The empty directory to mount on. */
  readonly place: string
  /** The name under which the model is shown in it. */
  readonly name: string
  /** Keep the copies on the disk of `place`, not in memory. */
  readonly onDisk: boolean
  readonly mount: string
  readonly fsverity: string
}

/** What it answers, each as one line of JSON. */
export type StageAnswer =
  | { readonly kind: 'progress'; readonly progress: Progress }
  /** The files as they were found while they were copied; `ready`: the copy is whole, read-only, and nothing differs. */
  | { readonly kind: 'fact'; readonly fact: Omit<FilesFact, 'manifest'>; readonly ready: boolean }
  | {
      readonly kind: 'unavailable'
      readonly message: string
      readonly hint?: string
      readonly path?: string
    }
  | {
      readonly kind: 'error'
      readonly code: string
      readonly message: string
      readonly path?: string
    }

const STAGE = fileURLToPath(
  import.meta.url.endsWith('.ts')
    ? new URL('../../dist/src/gate/private-copy-stage.js', import.meta.url)
    : new URL('./private-copy-stage.js', import.meta.url),
)

/**
 * $1 our process id, $2 node, $3 the copier, $4 setpriv, then the program. The shell dies with us (setpriv before it saw to that; the first line
 * catches the moment before), the copier with the shell, and the shell becomes the program: one process, one exit status.
 */
const SCRIPT = `[ "$PPID" = "$1" ] || exit 125
NODE_OPTIONS= "$4" --pdeathsig KILL -- "$2" "$3" </dev/null || exit 125
shift 4
exec "$@" 3<&- 4>&-`

/** A private copy in the making. */
export class PrivateCopy {
  /** Compares a list by copying; asked about a second list, it just reads. */
  readonly source: ModelSource
  /** The path of the model for the program. */
  readonly model: string
  /** Why the copy can't be made; null as long as it can. */
  failure: ZtError | null = null
  readonly #request: ProtectRequest
  readonly #mode: StagePlan['mode']
  readonly #tools: Tools
  readonly #place: Place
  readonly #name: string
  readonly #child: ChildProcess
  #copied: string | null = null
  #whole = false
  #done = false

  private constructor(
    request: ProtectRequest,
    mode: StagePlan['mode'],
    tools: Tools,
    prefer: string | undefined,
  ) {
    this.#request = request
    this.#mode = mode
    this.#tools = tools
    const { path, options, surroundings } = request
    const base = pathSource(path, options)
    this.#name = shownAs(path)
    this.#place = claimPlace(showingIn(surroundings), tools)
    this.model = join(this.#place.path, this.#name)
    // It loads its code while we verify signatures.
    this.#child = this.#start()
    this.source = {
      subject: base.subject,
      bundles: (watch) => base.bundles(watch),
      compare: (manifest, watch) =>
        this.#copied === null && (prefer === undefined || listKey(manifest) === prefer)
          ? this.#compare(manifest, watch)
          : base.compare(manifest, watch),
    }
  }

  /**
   * Finds out whether this machine can do it, and claims a place.
   * @param prefer the key of the list to copy, where several are signed
   * @throws ZtError PROTECTION_UNAVAILABLE
   */
  static prepare(request: ProtectRequest, mode: StagePlan['mode'], prefer?: string): PrivateCopy {
    if (process.platform !== 'linux')
      throw new ZtError('PROTECTION_UNAVAILABLE', 'mount namespaces are a feature of Linux')
    const tools = new Tools(request.surroundings.searchPath)
    if (mode === 'fsverity') tools.need('fsverity')
    tools.need('mount')
    probe(tools)
    return new PrivateCopy(request, mode, tools, prefer)
  }

  /** The key of the list that was admitted, if it is not the one that was copied. */
  otherThan(manifest: Manifest | null): string | null {
    const key = manifest === null ? '' : listKey(manifest)
    return key === this.#copied ? null : key
  }

  /** True if every signed file was copied. */
  get whole(): boolean {
    return this.#whole
  }

  /** Lets the program start. */
  release(): ChildProcess {
    const child = this.#child
    const control = child.stdio[3] as Duplex
    control.end('go\n')
    ;(child.stdio[4] as Duplex).destroy()
    return child
  }

  /** Ends what is left of it. */
  abandon(): void {
    if (this.#done) return
    this.#done = true
    const child = this.#child
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    this.#place.release()
  }

  async #compare(manifest: Manifest, watch: CompareRequest): Promise<FilesFact | null> {
    const child = this.#child
    this.#copied = listKey(manifest)
    const stop = (): void => {
      child.kill('SIGKILL')
    }
    watch.signal?.addEventListener('abort', stop, { once: true })
    const answers = child.stdio[4] as Duplex
    try {
      ;(child.stdio[3] as Duplex).write(`${JSON.stringify(this.#plan(manifest))}\n`)
      // Node drains the pipes of a child that has ended, and lines of a stream that has ended already never end.
      const lines = answers.readableEnded || answers.destroyed ? [] : createInterface(answers)
      for await (const line of lines) {
        const answer = JSON.parse(line) as StageAnswer
        if (answer.kind === 'progress') watch.onProgress?.(answer.progress)
        else return this.#answered(answer, manifest)
      }
    } finally {
      watch.signal?.removeEventListener('abort', stop)
    }
    if (watch.signal?.aborted === true)
      throw new ZtError('INTERRUPTED', 'interrupted while copying the model')
    return this.#failed(new ZtError('PROTECTION_UNAVAILABLE', 'the copying process was ended'))
  }

  #answered(
    answer: Exclude<StageAnswer, { kind: 'progress' }>,
    manifest: Manifest,
  ): FilesFact | null {
    switch (answer.kind) {
      case 'fact':
        this.#whole = answer.ready
        return { ...answer.fact, manifest }
      case 'unavailable':
        return this.#failed(new ZtError('PROTECTION_UNAVAILABLE', answer.message, answer))
      case 'error':
        throw new ZtError(answer.code as ZtError['code'], answer.message, answer)
    }
  }

  #failed(error: ZtError): null {
    this.failure = error
    this.abandon()
    return null
  }

  #plan(manifest: Manifest): StagePlan {
    const { path, options, surroundings } = this.#request
    return {
      mode: this.#mode,
      path,
      signatures: options.signatures ?? [],
      ignorePaths: options.ignorePaths ?? [],
      manifest,
      place: this.#place.path,
      name: this.#name,
      onDisk: surroundings.scratch !== undefined,
      mount: this.#tools.need('mount'),
      fsverity: this.#tools.find('fsverity') ?? '',
    }
  }

  #start(): ChildProcess {
    const setpriv = this.#tools.need('setpriv')
    const { command, env } = this.#request
    const child = spawn(
      this.#tools.need('unshare'),
      [
        ...namespace(),
        ...[setpriv, '--pdeathsig', 'KILL', '--', '/bin/sh', '-c', SCRIPT, 'zt4ai'],
        ...[String(process.pid), process.execPath, STAGE, setpriv],
        ...dropped(this.#tools),
        ...command(this.model),
      ],
      { stdio: ['inherit', 'inherit', 'inherit', 'pipe', 'pipe'], env: env(this.model) },
    )
    // What goes wrong is told by its end, or was found out before.
    child.on('error', () => undefined)
    for (const pipe of [child.stdio[3], child.stdio[4]]) pipe?.on('error', () => undefined)
    return child
  }
}

/** The name under which a model is shown: its own. */
function shownAs(path: string): string {
  const name = basename(path.replace(/(?:\/+\.?)+$/, ''))
  return name === '' || name === '.' || name === '..' ? 'model' : name
}

/** True if we may mount in a new mount namespace without a user namespace of our own (CAP_SYS_ADMIN). */
function privileged(): boolean {
  try {
    const caps = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1]
    return process.getuid?.() === 0 && (BigInt(`0x${caps ?? '0'}`) & (1n << 21n)) !== 0n
  } catch {
    return false
  }
}

function namespace(): string[] {
  return [
    ...(privileged() ? [] : ['--user', '--map-root-user']),
    ...['--mount', '--propagation', 'private', '--'],
  ]
}

/**
 * Gives everything away that the copier needed: no capability, none to be gained, and in a user namespace our own ids again. That second
 * namespace owns no mount, so the program can't undo the first one's.
 */
function dropped(tools: Tools): string[] {
  const setpriv = tools.need('setpriv')
  const nothing = [
    ...[setpriv, '--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all'],
    ...['--bounding-set=-all', '--pdeathsig', 'KILL', '--'],
  ]
  if (privileged()) return nothing
  const ids = [
    `--map-user=${String(process.getuid?.() ?? 0)}`,
    `--map-group=${String(process.getgid?.() ?? 0)}`,
  ]
  return [tools.need('unshare'), '--user', ...ids, '--keep-caps', '--', ...nothing]
}

/** Goes the whole way once with nothing to do, so that what this machine forbids is known before a byte is read. */
function probe(tools: Tools): void {
  const { status, stderr, error } = spawnSync(
    tools.need('unshare'),
    [...namespace(), ...dropped(tools), '/bin/sh', '-c', ':'],
    { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' },
  )
  if (status === 0) return
  const why = error === undefined ? stderr.trim().split('\n').at(-1) : error.message
  throw new ZtError(
    'PROTECTION_UNAVAILABLE',
    `this machine allows no private mount namespace (${why ?? 'unknown'})`,
    {
      hint: 'allow unprivileged user namespaces (sysctl user.max_user_namespaces; in a container its seccomp profile), or run with CAP_SYS_ADMIN',
    },
  )
}
