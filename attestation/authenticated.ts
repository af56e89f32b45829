// The single owner of the mark that separates what hardware signed from what somebody claims.
declare const mark: unique symbol

/**
 * A `T` whose whole chain of signatures verified. Only the `authenticate` of a platform makes one, and `appraise` takes nothing else, so that unauthenticated
 * content can't be appraised by mistake.
 */
export type Authenticated<T> = T & { readonly [mark]: true }
