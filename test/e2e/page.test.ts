// The page of a verdict in a real browser.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { verdictPage } from '../../src/gate/page.ts'
import { makeVerdict, type Check, type Verdict } from '../../src/verdict.ts'
import { BROWSER, startBrowser, type Page } from '../fakes/browser.ts'
import { machine, OTHER_NONCE, scene } from '../gate/scene.ts'

const HOSTILE = `<script>alert(1)</script><img src=x onerror=alert(1)>"'\u202egnp.exe\u200f`

describe.skipIf(BROWSER === null)('in Chromium', () => {
  let page: Page
  let folder = ''
  const verdicts: Record<string, Verdict> = {}

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'zt4ai-page-'))
    page = await startBrowser(BROWSER ?? '')
    const at = await scene()
    verdicts['allow'] = (await at.ask()).verdict
    verdicts['no rule'] = (await at.ask({ name: 'nobody/knows' })).verdict
    at.write('config.json', '{}')
    at.write(HOSTILE.replaceAll('/', '∕'), 'x')
    for (let i = 0; i < 300; i++) at.write(`extra-${i}-${'long'.repeat(40)}.py`, 'import os\n')
    const evidence = [machine(at.root, { nonce: OTHER_NONCE, policy: 0xb0000n }).evidence]
    verdicts['deny'] = (await at.ask({ evidence })).verdict
    at.close()
    const check: Check = {
      id: `model.changed:${HOSTILE}`,
      status: 'fail',
      code: 'FILE_CHANGED',
      message: HOSTILE,
      expected: 'x'.repeat(5000),
      actual: HOSTILE,
      hint: `\`${HOSTILE}\``,
    }
    verdicts['hostile'] = makeVerdict({
      at: '2026-11-20T12:00:00Z',
      subject: { name: HOSTILE.repeat(20), digest: { sha256: 'ab'.repeat(32) } },
      policy: { name: HOSTILE, digest: { sha256: 'cd'.repeat(32) } },
      checks: [
        check,
        { ...check, id: 'policy.rule', status: 'pass' },
        { ...check, id: 'machine.evidence' },
      ],
      inputs: [{ name: HOSTILE.repeat(50), digest: { sha256: 'ef'.repeat(32) } }],
    })
    for (const [name, verdict] of Object.entries(verdicts))
      writeFileSync(join(folder, `${name}.html`), verdictPage(verdict))
  }, 120_000)
  afterAll(async () => {
    await page.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it.each(['allow', 'deny', 'no rule', 'hostile'])(
    '%s: the decision is in sight, nothing overflows, and nothing complains',
    async (name) => {
      for (const width of [1280, 700, 320]) {
        await page.open(pathToFileURL(join(folder, `${name}.html`)).href, width, 800)
        const seen = await page.evaluate<{
          width: number
          decision: string
          top: number
          height: number
          wide: string[]
          style: string
        }>(`(() => {
          const heading = document.querySelector('h1')
          const box = heading.getBoundingClientRect()
          document.querySelectorAll('details').forEach((one) => { one.open = true })
          return {
            width: document.documentElement.scrollWidth,
            decision: heading.innerText,
            top: box.top,
            height: box.height,
            wide: [...document.querySelectorAll('body *')]
              .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
              .map((one) => one.className || one.tagName),
            style: getComputedStyle(document.querySelector('header')).borderTopStyle,
          }
        })()`)
        expect(seen.wide).toEqual([])
        expect(seen.width).toBeLessThanOrEqual(width)
        expect(seen.decision).toContain(name === 'allow' ? 'Allowed' : 'Refused')
        expect(seen.top).toBeGreaterThanOrEqual(0)
        expect(seen.top + seen.height).toBeLessThan(300)
        // the style sheet passed its own policy
        expect(seen.style).toBe('solid')
      }
      expect(page.complaints).toEqual([])
    },
    60_000,
  )

  it('hostile names are text: no element, no request, no turned direction', async () => {
    await page.open(pathToFileURL(join(folder, 'hostile.html')).href, 1280, 800)
    const seen = await page.evaluate<{
      scripts: number
      images: number
      links: number
      text: string
    }>(
      `({
        scripts: document.scripts.length,
        images: document.images.length,
        links: document.querySelectorAll('a,link,iframe,object,embed,form,base').length,
        text: document.body.innerText,
      })`,
    )
    expect(seen).toMatchObject({ scripts: 0, images: 0, links: 0 })
    expect(seen.text).toContain('<script>alert(1)</script>')
    expect(seen.text).toContain('\\u202egnp.exe\\u200f')
    expect(seen.text).not.toMatch(/[\u202a-\u202e\u2066-\u2069\u200e\u200f]/)
  })

  it('not even a script that got in would run', async () => {
    const file = join(folder, 'planted.html')
    const html = verdictPage(verdicts['allow'] ?? ({} as Verdict))
    writeFileSync(file, html.replace('<main>', '<main><script>document.title="ran"</script>'))
    await page.open(pathToFileURL(file).href, 800, 600)
    expect(await page.evaluate<string>('document.title')).toBe('Allowed: acme/tiny')
  })
})
