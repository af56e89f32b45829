// The format's own four JSON Schemas, applied to what we write; and our published ones.
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { REPOSITORY, shared } from '../shared.ts'

const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8'))

let made:
  | {
      check(bundle: Uint8Array): void
      valid(bundle: unknown): boolean
      validStatement(statement: unknown): boolean
    }
  | undefined

/** Throws if a bundle, its envelope, its statement or its predicate does not fit its schema. */
export function omsSchemas(): NonNullable<typeof made> {
  if (made !== undefined) return made
  const ajv = new Ajv2020({ allErrors: true, strict: false })
  for (const name of ['predicate', 'statement', 'envelope', 'bundle'])
    ajv.addSchema(json(shared(`vectors/oms-spec/schemas/${name}.schema.json`)))
  const validate = (id: string, value: unknown): void => {
    if (!ajv.validate(`https://model_signing/${id}/v1.0/schema`, value))
      throw new Error(`${id}: ${ajv.errorsText()}`)
  }
  made = {
    check(bytes) {
      const bundle = JSON.parse(Buffer.from(bytes).toString('utf8'))
      validate('bundle', bundle)
      validate('envelope', bundle.dsseEnvelope)
      const statement = JSON.parse(
        Buffer.from(bundle.dsseEnvelope.payload, 'base64').toString('utf8'),
      )
      validate('statement', statement)
      validate('predicate', statement.predicate)
    },
    valid: (bundle) => ajv.validate('https://model_signing/bundle/v1.0/schema', bundle),
    validStatement: (statement) =>
      ajv.validate('https://model_signing/statement/v1.0/schema', statement),
  }
  return made
}

/** A validator of one of the schemas that we publish; it gives the errors as text, or null. */
export function ourSchema(name: string): (value: unknown) => string | null {
  const ajv = new Ajv2020({ allErrors: true, strict: true })
  const validate = ajv.compile(json(resolve(REPOSITORY, 'schemas', `${name}.schema.json`)))
  return (value) => (validate(value) ? null : ajv.errorsText(validate.errors))
}
