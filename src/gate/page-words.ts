// The single owner of what the page of a verdict calls its checks: plain titles, and which check is a detail of which.

const TITLES: Readonly<Record<string, string>> = {
  'policy.rule': 'A rule for this model',
  'model.signed-by': 'Who signed it',
  'model.hashes': 'How the files were hashed',
  'model.signature-age': 'How old the signature is',
  'model.route': 'How the files were compared',
  'model.files': 'The signed files',
  'model.extra-files': 'Files that nobody signed',
  'model.formats': 'What kind of files they are',
  'model.admitted': 'An earlier verdict of somebody else',
  'model.changed': 'A changed file',
  'model.missing': 'A missing file',
  'model.extra': 'A file that nobody signed',
  'model.entry': 'An entry that can not be part of a model',
  'model.ignored': 'Files that the signer left out',
  'model.uncovered': 'Files that no signature covers',
  'machine.evidence': 'The machine',
  'machine.root': 'Whose hardware it is',
  'machine.measurement': 'Which software runs on it',
  'machine.nonce': 'Made for this occasion, or replayed',
  'machine.freshness': 'How fresh the evidence is',
  'machine.binding': 'Whether the machine speaks of this model',
  protection: 'How the files are protected after the check',
}

/** A check's plain title; its id where there is none. */
export function titleOf(id: string): string {
  const kind = id.split(':', 1)[0] ?? id
  const known = Object.hasOwn(TITLES, kind) ? TITLES[kind] : undefined
  if (known !== undefined) return known
  if (kind.startsWith('exemption.')) return `The exemption “${kind.slice('exemption.'.length)}”`
  if (kind.startsWith('evidence.')) return 'One step of the machine’s evidence'
  if (kind.startsWith('signature.')) return 'One step of a signature'
  return kind
}

/** True for the steps behind a summary: those of one signature, and those of one piece of evidence. */
export function isDetail(id: string): boolean {
  return /^(?:signature|evidence)\./.test(id)
}

/** What a verdict never says, whatever was checked. */
export const NOT_SAID: readonly string[] = [
  'It does not say that the model is good, safe or fit for any purpose: only that it is the one that was signed.',
  'It does not say that the signer is honest, or that the signer’s key was never stolen: only that the policy names this signer.',
  'Evidence of a machine shows how it was started and how up to date it is. It does not show attacks on the hardware itself, or what happened to the software after it started.',
  'It holds for the time that it names. It is not a promise about later.',
]
