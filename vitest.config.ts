import { defineConfig } from 'vitest/config'

// eslint-disable-next-line no-restricted-exports -- vitest reads the default export
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/interop/**', 'test/bench/**'],
    globalSetup: ['test/setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    coverage: {
      provider: 'v8',
      include: ['attestation/**/*.ts', 'src/**/*.ts'],
      exclude: ['src/cli/**', '**/*.d.ts'],
      reporter: ['text-summary', 'json-summary'],
      thresholds: { statements: 89, branches: 84, functions: 91, lines: 90 },
    },
  },
})
