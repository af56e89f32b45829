// A JFrog Worker for BEFORE_DOWNLOAD: a model's manifest is given out only where zt4ai allows the model.

interface Context {
  readonly secrets: { get(name: string): string }
  readonly clients: {
    readonly axios: {
      post(
        url: string,
        body: object,
        config: object,
      ): Promise<{ readonly status: number; readonly data: unknown }>
    }
  }
}
interface Request {
  readonly metadata: { readonly repoPath: { readonly key: string; readonly path: string } }
  readonly userContext?: { readonly id?: string }
}
interface Response {
  /** DownloadStatus: 1 proceed, 2 stop. */
  readonly status: 1 | 2
  readonly message: string
}
interface Answer {
  readonly allowed?: unknown
  readonly code?: unknown
  readonly message?: unknown
}

/** `NAME/TAG/manifest.json` or `NAME/sha256:HEX/manifest.json`, as Artifactory lays images out. */
const MANIFEST = /^(.+)\/(?:sha256[:_]{1,2}([0-9a-f]{64})|([^/]+))\/(?:list\.)?manifest\.json$/

// eslint-disable-next-line no-restricted-exports -- JFrog runs the default export
export default async function beforeDownload(
  context: Context,
  request: Request,
): Promise<Response> {
  const { key, path } = request.metadata.repoPath
  const found = MANIFEST.exec(path)
  // Blobs are named by their digests in a manifest: who has no manifest has no model.
  if (found === null) return { status: 1, message: 'not a manifest' }
  // The service reads the manifest itself to decide: it must not wait for its own answer.
  if (request.userContext?.id === context.secrets.get('ZT4AI_USER'))
    return { status: 1, message: 'asked by zt4ai itself' }
  const [, name = '', digest, tag = ''] = found
  const host = context.secrets.get('ZT4AI_REGISTRY')
  const reference = `${host}/${key}/${name}${digest === undefined ? `:${tag}` : `@sha256:${digest}`}`
  try {
    const { data } = await context.clients.axios.post(
      `${context.secrets.get('ZT4AI_URL')}/v1/admit?timeout=4s`,
      { reference, kind: 'image' },
      {
        headers: { Authorization: `Bearer ${context.secrets.get('ZT4AI_TOKEN')}` },
        validateStatus: (status: number) => status === 200 || status === 503,
        timeout: 4500,
      },
    )
    const { allowed, code, message } = data as Answer
    return {
      status: allowed === true ? 1 : 2,
      message: `zt4ai: ${String(code)}: ${String(message)}`,
    }
  } catch {
    return { status: 2, message: 'zt4ai: EVIDENCE_UNAVAILABLE: the service gave no answer' }
  }
}
