// The single owner of the policies in force: read from files, read again when they change, and a broken one never replaces a good one.
import { watch, type FSWatcher } from 'node:fs'
import { dirname } from 'node:path'
import { VENDOR_ROOTS } from '../../attestation/index.ts'
import { formatTime, sha256Hex, utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../error.ts'
import type { LoadedPolicy } from '../gate/question.ts'
import { readPolicy } from '../gate/policy.ts'

/** A policy in force. */
export interface ActivePolicy {
  readonly path: string
  readonly name: string
  readonly loaded: LoadedPolicy
  /** Of the policy and everything that it names. */
  readonly digest: string
  readonly since: Date
}

/** What somebody who looks after the service must know of one policy. */
export interface PolicyStatus {
  readonly path: string
  readonly name: string
  readonly digest: string
  readonly since: string
  /** Why the file as it is now is not in force; null if it is. */
  readonly broken: string | null
}

export interface PolicyHooks {
  onReload?(policy: ActivePolicy): void
  onBroken?(path: string, error: unknown): void
}

/** Digest of the anchors that the product brings along: the policy's own are in the policy's digest. */
export const ANCHORS = sha256Hex(
  utf8Encode(
    VENDOR_ROOTS.map(({ sha256 }) => sha256)
      .sort()
      .join('\n'),
  ),
)

export class Policies {
  readonly #hooks: PolicyHooks
  readonly #now: () => Date
  readonly #active = new Map<string, ActivePolicy>()
  readonly #broken = new Map<string, string>()
  #watchers: FSWatcher[] = []
  #timer: NodeJS.Timeout | undefined
  #soon: NodeJS.Timeout | undefined

  /**
   * Reads all of them; the first is the one that is meant where nobody names one.
   * @throws ZtError what reading a policy throws; USAGE for two of one name, or none
   */
  constructor(paths: readonly string[], now: () => Date, hooks: PolicyHooks = {}) {
    this.#now = now
    this.#hooks = hooks
    for (const path of paths) {
      const policy = this.#read(path)
      if (this.#named(policy.name) !== undefined)
        throw new ZtError('USAGE', `two policies are called \`${policy.name}\``, { path })
      this.#active.set(path, policy)
    }
    if (this.#active.size === 0) throw new ZtError('USAGE', 'there is no policy')
  }

  /** The policy of a name, or the first. */
  get(name?: string): ActivePolicy | undefined {
    return name === undefined ? [...this.#active.values()][0] : this.#named(name)
  }

  all(): readonly ActivePolicy[] {
    return [...this.#active.values()]
  }

  status(): readonly PolicyStatus[] {
    return this.all().map(({ path, name, digest, since }) => ({
      path,
      name,
      digest,
      since: formatTime(since),
      broken: this.#broken.get(path) ?? null,
    }))
  }

  /** Looks at the files now. What can't be used changes nothing but the status. */
  check(): void {
    for (const { path, name, digest } of this.all()) {
      try {
        const fresh = this.#read(path)
        const other = this.#named(fresh.name)
        if (other !== undefined && other.path !== path)
          throw new ZtError('USAGE', `another policy is called \`${fresh.name}\``, { path })
        const mended = this.#broken.delete(path)
        if (fresh.digest === digest && fresh.name === name && !mended) continue
        this.#active.set(path, fresh)
        this.#hooks.onReload?.(fresh)
      } catch (error) {
        const said = error instanceof Error ? error.message : String(error)
        if (this.#broken.get(path) === said) continue
        this.#broken.set(path, said)
        this.#hooks.onBroken?.(path, error)
      }
    }
  }

  /** Looks whenever a folder changes, and every `intervalMs` because some file systems tell nothing. */
  watch(intervalMs: number): void {
    const soon = (): void => {
      clearTimeout(this.#soon)
      // A ConfigMap is swapped by a rename: a moment later all of it is there.
      this.#soon = setTimeout(() => this.check(), 50)
      this.#soon.unref()
    }
    for (const folder of new Set(this.all().map(({ path }) => dirname(path)))) {
      try {
        const watcher = watch(folder, { persistent: false }, soon)
        watcher.on('error', () => watcher.close())
        this.#watchers.push(watcher)
      } catch {
        // The timer is enough.
      }
    }
    this.#timer = setInterval(() => this.check(), intervalMs)
    this.#timer.unref()
  }

  close(): void {
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    for (const watcher of this.#watchers) watcher.close()
    this.#watchers = []
  }

  #named(name: string): ActivePolicy | undefined {
    return this.all().find((policy) => policy.name === name)
  }

  #read(path: string): ActivePolicy {
    const loaded = readPolicy(path)
    const { policy, digest } = loaded.resolved
    return { path, name: policy.name, loaded, digest, since: this.#now() }
  }
}
