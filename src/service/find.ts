// The single owner of finding models in what a cluster is asked to run: image volumes, ModelCar images, KServe's sources, and the annotation.
import type { JsonObject, JsonValue } from '../../attestation/lib/index.ts'
import type { Code } from '../codes.ts'
import { ZtError } from '../error.ts'
import { formatReference, type Reference } from '../registry/reference.ts'
import { imageReference, pinned, storageReference } from './image.ts'

/** A model that an object names, or a place that should name one and does not. */
export interface FoundModel {
  /** Where it is named, for example `spec.volumes[0].image.reference`. */
  readonly where: string
  readonly text: string
  readonly found:
    | { readonly reference: Reference & { readonly digest: string } }
    | { readonly code: Code; readonly message: string; readonly hint?: string }
}

/**
 * Names models that nothing else shows: `oci://…@sha256:…` for what a container fetches itself, `container:NAME` for a container whose
 * image is a model. Separated by blanks or commas.
 */
export const ANNOTATION = 'zt4ai.dev/models'
/** KServe's own note of what its storage initializer fetches. */
const KSERVE_SOURCE = 'internal.serving.kserve.io/storage-initializer-sourceuri'
const CONTAINER = 'container:'
const MODELCAR_CONTAINERS = new Set(['modelcar', 'modelcar-init'])
const CONTAINERS = ['containers', 'initContainers', 'ephemeralContainers'] as const
const LEFT_OUT = new Set(['managedFields', 'status', 'annotations', 'labels'])

export const MAX_MODELS = 64

export interface FindOptions {
  /** Keys (`keyOf`) of what is known and so not looked for. */
  readonly except?: ReadonlySet<string>
  /** More are one refusal. Default: `MAX_MODELS`. */
  readonly most?: number
}

/**
 * Every model that an object names, at whatever depth: in pods, in the templates of what makes pods, and in KServe's resources.
 * @param isModel whether the policy says that a container image is a model
 */
export function findModels(
  object: JsonObject,
  isModel: (reference: Reference) => boolean,
  options: FindOptions = {},
): readonly FoundModel[] {
  const kserve = textOf(object['apiVersion']).startsWith('serving.kserve.io/')
  const finder = new Finder(isModel, kserve, options)
  finder.visit(object, '', [])
  return finder.result()
}

/** What makes two of them the same: where they are named does not. */
export function keyOf({ text, found }: Pick<FoundModel, 'text' | 'found'>): string {
  return 'reference' in found ? formatReference(found.reference) : `${found.code} ${text}`
}

class Finder {
  readonly #isModel: (reference: Reference) => boolean
  readonly #kserve: boolean
  readonly #except: ReadonlySet<string>
  readonly #most: number
  readonly #found = new Map<string, FoundModel>()

  constructor(
    isModel: (reference: Reference) => boolean,
    kserve: boolean,
    { except = new Set(), most = MAX_MODELS }: FindOptions,
  ) {
    this.#isModel = isModel
    this.#kserve = kserve
    this.#except = except
    this.#most = most
  }

  result(): readonly FoundModel[] {
    return [...this.#found.values()]
  }

  /** @param outer containers that an annotation further out calls models */
  visit(value: JsonValue, path: string, outer: readonly string[]): void {
    if (Array.isArray(value)) {
      for (const [index, item] of (value as readonly JsonValue[]).entries())
        this.visit(item, `${path}[${String(index)}]`, outer)
      return
    }
    if (!isObject(value)) return
    const named = [...outer, ...this.#annotated(value, path)]
    for (const [key, member] of Object.entries(value)) {
      const place = path === '' ? key : `${path}.${key}`
      if (key === 'volumes') this.#volumes(member, place)
      else if (CONTAINERS.some((list) => list === key)) this.#containers(member, place, named)
      else if (key === 'storageUri') this.#source(member, place)
      else if (key === 'storageUris')
        for (const [index, item] of listOf(member).entries())
          this.#source(isObject(item) ? item['uri'] : item, `${place}[${String(index)}].uri`)
      else if (this.#kserve && key === 'uri') this.#source(member, place)
      else if (this.#kserve && key === 'storage' && isObject(member)) this.#storage(member, place)
      if (!LEFT_OUT.has(key)) this.visit(member, place, named)
    }
  }

  #volumes(value: JsonValue, path: string): void {
    for (const [index, volume] of listOf(value).entries()) {
      const image = isObject(volume) ? volume['image'] : undefined
      if (image === undefined || image === null) continue
      const text = isObject(image) ? image['reference'] : undefined
      this.#reference(text, `${path}[${String(index)}].image.reference`, imageReference)
    }
  }

  #containers(value: JsonValue, path: string, annotated: readonly string[]): void {
    for (const [index, container] of listOf(value).entries()) {
      if (!isObject(container)) continue
      const { name, image, args, command } = container
      const place = `${path}[${String(index)}]`
      if (typeof image === 'string' && image !== '') {
        const certain =
          typeof name === 'string' && (annotated.includes(name) || MODELCAR_CONTAINERS.has(name))
        this.#image(image, `${place}.image`, certain)
      }
      if (isInitializer(name, image))
        for (const list of [args, command])
          for (const [at, word] of listOf(list).entries())
            if (typeof word === 'string' && word.includes('://'))
              this.#source(word, `${place}.args[${String(at)}]`)
    }
  }

  /** An image that is no model is nobody's business here; one whose name can't be read may be one. */
  #image(text: string, path: string, certain: boolean): void {
    try {
      if (!certain && !this.#isModel(imageReference(text))) return
    } catch {
      // told below
    }
    this.#reference(text, path, imageReference)
  }

  #source(value: JsonValue | undefined, path: string): void {
    this.#reference(value, path, storageReference)
  }

  /** KServe's `storage:` names a bucket by the key of a secret: nothing there is named by digest. */
  #storage(value: JsonObject, path: string): void {
    if (['key', 'path', 'parameters'].some((key) => Object.hasOwn(value, key)))
      this.#reference(`storage:${textOf(value['path'])}`, path, storageReference)
  }

  /** Models that the annotations of an object name, and the containers that they say are models: the object's own and those in it. */
  #annotated(value: JsonObject, path: string): readonly string[] {
    const metadata = value['metadata']
    const annotations = isObject(metadata) ? metadata['annotations'] : undefined
    if (!isObject(annotations)) return []
    const place = `${path === '' ? '' : `${path}.`}metadata.annotations`
    const source = annotations[KSERVE_SOURCE]
    if (source !== undefined) this.#source(source, `${place}[${KSERVE_SOURCE}]`)
    const containers: string[] = []
    for (const entry of textOf(annotations[ANNOTATION]).split(/[\s,]+/)) {
      if (entry.startsWith(CONTAINER)) containers.push(entry.slice(CONTAINER.length))
      else if (entry !== '') this.#reference(entry, `${place}[${ANNOTATION}]`, annotationReference)
    }
    return containers
  }

  #reference(value: JsonValue | undefined, place: string, read: (text: string) => Reference): void {
    const text = textOf(value)
    const where = place.slice(0, 512)
    try {
      const reference = pinned(read(text))
      const { digest } = reference
      if (digest === undefined)
        throw new ZtError(
          'DIGEST_REQUIRED',
          'it is named by a tag, which can mean another model later',
          {
            hint: `write ${formatReference({ ...reference, digest: 'sha256:…' }).replace('oci://', '')}: crane digest, oras resolve or zt4ai push print the digest`,
          },
        )
      this.#add({ where, text, found: { reference: { ...reference, digest } } })
    } catch (error) {
      if (!(error instanceof ZtError)) throw error
      const { code, message, hint } = error
      const found = { code, message, ...(hint === undefined ? {} : { hint }) }
      this.#add({ where, text, found })
    }
  }

  #add(model: FoundModel): void {
    const key = keyOf(model)
    if (this.#found.has(key) || this.#except.has(key)) return
    if (this.#found.size < this.#most) this.#found.set(key, model)
    else
      this.#found.set('too many', {
        where: model.where,
        text: '',
        found: {
          code: 'MODELS_TOO_MANY',
          message: `more than ${String(this.#most)} models are named`,
        },
      })
  }
}

function annotationReference(text: string): Reference {
  if (text.startsWith('oci://')) return storageReference(text)
  throw new ZtError('ANNOTATION_INVALID', 'it is neither oci://… nor container:NAME', {
    hint: `write ${ANNOTATION}: "oci://HOST/REPOSITORY@sha256:DIGEST container:NAME"`,
  })
}

function isInitializer(name: JsonValue | undefined, image: JsonValue | undefined): boolean {
  if (name === 'storage-initializer') return true
  const last = textOf(image).split('@')[0]?.split('/').at(-1) ?? ''
  return last.split(':')[0]?.includes('storage-initializer') === true
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return Array.isArray(value) ? (value as readonly JsonValue[]) : []
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : ''
}
