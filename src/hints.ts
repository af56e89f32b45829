// The single owner of the way out of each refusal outside attestation/, where the check itself knows no better one.
import type { Code } from './codes.ts'

const AGAIN = 'fetch the signature again; if it is the same, its signer made a broken one'
const MAKER = 'have the model signed again, with a tool that follows OpenSSF Model Signing'
const CLEAN = 'remove the entry, or replace it by a regular file, and have the model signed again'
const BUNDLE = 'fetch the signature again, whole: its proof of the transparency log is not sound'
const TIME = 'have the model signed again, with a timestamp authority that the trusted root names'

/** For evidence that could not even be read; all else that is wrong with it brings a hint of its own. */
export const EVIDENCE_HINT = 'collect the evidence again, on the machine itself'

/** What a person can do. Codes that never stand on a failing check of a verdict are left out. */
export const HINTS: Readonly<Partial<Record<Code, string>>> = {
  BUNDLE_INVALID: AGAIN,
  MEDIA_TYPE_UNKNOWN: AGAIN,
  FORMAT_INVALID: AGAIN,
  TRUNCATED: AGAIN,
  TRAILING_DATA: AGAIN,
  TOO_LARGE: 'give what belongs to this model alone',
  UNSUPPORTED_VERSION: MAKER,
  UNSUPPORTED_ALGORITHM: MAKER,
  PAYLOAD_TYPE: 'give the signature of the model: this is one of something else',
  STATEMENT_INVALID: MAKER,
  PREDICATE_TYPE: 'give the signature of the model: look at this one with `zt4ai inspect`',
  MANIFEST_INVALID: MAKER,
  MANIFEST_EMPTY: MAKER,
  SERIALIZATION_UNKNOWN: MAKER,
  NAME_UNSAFE: 'rename the entry, and have the model signed again',
  NAME_DUPLICATE: MAKER,
  NAME_NOT_UTF8: 'rename the entry, and have the model signed again',
  SHARDS_INVALID: MAKER,
  DIGEST_INVALID: MAKER,
  ROOT_MISMATCH: MAKER,
  SIGNATURE_INVALID: AGAIN,
  CERT_INVALID: 'have the model signed with a certificate that was issued for signing code',
  CERT_ROLE: 'have the model signed with a certificate that was issued for signing code',
  CERT_EXPIRED: 'have the model signed again, or judge at an earlier time with --at',
  CERT_NOT_YET_VALID: "compare this machine's clock, or the time of --at, with the certificate's",
  KEY_UNSUPPORTED: 'have the model signed with a key on P-256, P-384 or P-521',
  IDENTITY_MISMATCH: 'ask for the identity that signed, if you trust it: the comparison is exact',
  ISSUER_MISMATCH:
    'ask for the issuer that vouched for it, if you trust it: the comparison is exact',
  LOG_ENTRY_MISSING: 'have the model signed again: a keyless signature is always logged',
  LOG_ENTRY_INVALID: BUNDLE,
  LOG_ENTRY_DUPLICATE: BUNDLE,
  LOG_UNKNOWN: 'give the trusted root of the Sigstore instance that logged it: --trusted-root',
  LOG_UNVERIFIED: BUNDLE,
  LOG_MISMATCH: BUNDLE,
  TIMESTAMP_MISSING: TIME,
  TIMESTAMP_INVALID: TIME,
  SCT_INVALID: 'give the trusted root of the Sigstore instance that issued the certificate',
  FILE_CHANGED: 'restore the file that was signed, or have the new one signed',
  FILE_MISSING: 'restore the file that was signed, or have the model signed without it',
  FILE_EXTRA: 'remove the file, or have the model signed with it',
  FILE_SPECIAL: CLEAN,
  FILE_LINK: CLEAN,
  LINK_OUTSIDE: CLEAN,
  LINK_BROKEN: CLEAN,
  LINK_CYCLE: CLEAN,
  FILE_UNREADABLE: 'check the permissions of the file and the health of the disk',
  FILE_UNSTABLE: 'stop whoever writes to the model, and try again',
  FORMAT_UNREAD: 'let the files themselves be read: verify or admit the model where they are',
  FORMAT_NOT_ALLOWED: 'convert the file to safetensors or gguf, or allow its format in the rule',
  MODEL_EMPTY: 'check the path and the ignored paths',
  MODEL_TOO_LARGE: 'split the model, or remove what does not belong to it',
  SIGNATURE_OLD: 'have the model signed again',
  EVIDENCE_REFUSED: 'see the failing checks of the evidence: each says what was expected and found',
  ROOT_UNTRUSTED: 'only the vendors’ roots are trusted, or the one that the machine names',
  LAYER_PATH: 'have the model pushed again: its layers do not say where their files lie',
  REGISTRY_DIGEST: 'pull again; if it stays so, do not believe this registry',
}

/** The same for exceptions, where no answer was reached and whoever threw knows no better way. */
export const ERROR_HINTS: Readonly<Partial<Record<Code, string>>> = {
  USAGE: 'the command with --help shows its options and examples',
  IO: 'check that the path exists, what this user may do there, and that there is space',
  TOO_LARGE: 'give the file that is meant: nothing that large has a use here',
  INTERNAL: 'please report it, with the command and the version (zt4ai --version)',
  INTERRUPTED: 'nothing was left half-written: run it again',
  NETWORK: 'check the address and the connection, and try again',
  BUNDLE_INVALID: AGAIN,
  STATEMENT_INVALID: MAKER,
  MANIFEST_INVALID: MAKER,
  FORMAT_UNKNOWN: 'give one of the files that the command with --help names',
  SIGNATURE_NOT_FOUND: 'say where it is with --signature, or have the model signed',
  KEY_INVALID:
    'write it in PEM anew: openssl pkey -in KEY -out KEY.pem (with -pubin -pubout for a public key)',
  KEY_PASSPHRASE: 'check ZT4AI_KEY_PASSPHRASE, or leave it unset to be asked on a terminal',
  MODEL_NOT_FOUND: 'check the path of the model',
  MODEL_EMPTY: 'check the path and the ignored paths',
  MODEL_TOO_LARGE: 'split the model, or remove what does not belong to it',
  NAME_DUPLICATE: 'rename one of the two',
  FILE_UNREADABLE: 'check the permissions of the file and the health of the disk',
  TAR_INVALID:
    'pack it anew as a plain tar or tar.gz, whole: what two readers could read differently is not read',
  PART_INVALID: 'make the part again',
  SAFETENSORS_INVALID:
    'fetch the file again; if it is the same, whoever wrote it made a broken one',
  CERT_MISSING: 'give the certificate in PEM (-----BEGIN CERTIFICATE-----)',
  TOKEN_INVALID: 'ask the identity provider for a new token',
  SIGNING_SERVICE: 'try again; if it stays so, ask whoever runs the service',
}
