import { describe, expect, it } from 'vitest'
import { guessFormat } from '../../src/model/guess.ts'

describe('guessFormat', () => {
  it.each([
    ['a/model.safetensors', 'safetensors', false],
    ['model.GGUF', 'gguf', false],
    ['pytorch_model.bin', 'pytorch', true],
    ['x.pkl', 'pickle', true],
    ['modeling_x.py', 'code', true],
    ['config.json', 'json', false],
    ['LICENSE', 'text', false],
    ['weights', 'unknown', false],
  ])('of %s is %s', (name, format, executable) => {
    expect(guessFormat(name)).toMatchObject({ format, executable })
  })
})
