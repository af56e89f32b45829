import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8Encode } from '../../attestation/lib/index.ts'
import { ZtError } from '../../src/error.ts'
import { decide } from '../../src/gate/admit.ts'
import { gather } from '../../src/gate/gather.ts'
import type { Admission } from '../../src/gate/question.ts'
import { MAX_REPLAY, readReplay, replay, writeReplay } from '../../src/gate/replay.ts'
import { verdictJson } from '../../src/verdict.ts'
import {
  AT,
  failing,
  GOOD,
  machine,
  NONCE,
  OTHER_NONCE,
  referenceValues,
  scene,
  SOURCE,
  type Scene,
} from './scene.ts'

let at: Scene
beforeEach(async () => {
  at = await scene()
})
afterEach(() => {
  at.close()
})

async function again(admission: Admission): Promise<boolean> {
  const record = readReplay(utf8Encode(writeReplay(admission)))
  const { verdict } = await replay(record)
  expect(verdictJson(verdict)).toBe(verdictJson(admission.verdict))
  return verdictJson(verdict) === record.text
}

describe('a record', () => {
  it('gives every byte of the verdict again, without the files', async () => {
    const admission = await at.ask({ at: AT, now: new Date(AT.getTime() + 86_400_000) })
    at.close()
    expect(await again(admission)).toBe(true)
  })

  it('of a refusal too, of every kind', async () => {
    at.write('more.json', '{}')
    at.write('config.json', '{}')
    for (const changes of [
      {},
      { evidence: [] },
      { evidence: [machine(at.root, { nonce: OTHER_NONCE }).evidence, at.evidence] },
      { evidence: [{ name: 'x', bytes: new Uint8Array(9) }] },
      { name: 'nobody/knows' },
      { bundles: [{ name: 'junk', bytes: new Uint8Array(9) }] },
      { keyDigest: new Uint8Array(32).fill(1) },
      { challenge: { nonce: NONCE, issued: AT } },
    ])
      expect(await again(await at.ask(changes))).toBe(true)
    expect(await again(await at.ask({}, 'without a nonce'))).toBe(true)
  })

  it('with reference values, shards and a level of protection', async () => {
    const policy = at.policy(
      SOURCE.replace(`[${GOOD}]`, '[{from: reference-values, signer: platform}]'),
    )
    const gathered = await gather({
      model: at.model,
      name: 'acme/tiny',
      policy,
      at: AT,
      now: AT,
      evidence: [at.evidence],
      challenge: { nonce: NONCE },
      bundles: [{ name: 'values', bytes: await referenceValues('platform', GOOD) }],
    })
    const admission = decide(gathered, 'private-copy')
    expect(failing(admission)).toEqual([])
    expect(admission.verdict.protection).toBe('private-copy')
    expect(await again(admission)).toBe(true)
  })

  it('that was changed gives another verdict, or is refused', async () => {
    const text = writeReplay(await at.ask())
    const changed = async (from: string | RegExp, to: string): Promise<boolean> => {
      const other = text.replace(from, to)
      expect(other).not.toBe(text)
      const record = readReplay(utf8Encode(other))
      return verdictJson((await replay(record)).verdict) === record.text
    }
    expect(await changed('"at": "2026-11-20T12:00:00Z"', '"at": "2026-11-20T12:00:01Z"')).toBe(
      false,
    )
    expect(await changed('"name": "acme/tiny"', '"name": "acme/other"')).toBe(false)
    expect(await changed(/"nonce": "0c/, '"nonce": "0d')).toBe(false)
    expect(await changed('"missing": []', '"missing": ["x"]')).toBe(false)
    expect(await changed('"format": "json"', '"format": "text"')).toBe(false)
    expect(await changed(/"list": "[0-9a-f]{4}/, '"list": "0000')).toBe(false)
    expect(await changed('every byte was read', 'no byte was read')).toBe(false)
  })

  it('says how the files compared only for the list that was compared', async () => {
    const record = readReplay(utf8Encode(writeReplay(await at.ask())))
    const files = record.recorded.files.map((one) => ({ ...one, list: null }))
    const { verdict } = await replay({ ...record, recorded: { ...record.recorded, files } })
    expect(verdict.decision).toBe('deny')
  })
})

describe('reading a record', () => {
  it('refuses what it does not know, and nothing but ZtError comes out', async () => {
    const text = writeReplay(await at.ask())
    expect(text.length).toBeLessThan(MAX_REPLAY)
    const value = JSON.parse(text) as Record<string, unknown>
    for (const name of Object.keys(value).filter((one) => one !== 'challenge')) {
      const rest = Object.fromEntries(Object.entries(value).filter(([key]) => key !== name))
      expect(() => readReplay(utf8Encode(JSON.stringify(rest))), name).toThrow(ZtError)
    }
    expect(() => readReplay(utf8Encode(JSON.stringify({ ...value, more: 1 })))).toThrow(/unknown/)
    expect(() => readReplay(utf8Encode(text.slice(0, -3)))).toThrow(ZtError)
    fc.assert(
      fc.property(fc.json(), (json) => {
        expect(() => readReplay(utf8Encode(json))).toThrow(ZtError)
      }),
      { numRuns: 100 },
    )
  })
})
