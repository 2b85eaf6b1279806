import { isOAuthError } from '../../src/errors.ts'

/** The code of the `OAuthError` that `run` throws; `undefined` when it throws none. Any other error passes. */
export function errorCode(run: () => unknown): string | undefined {
  try {
    run()
  } catch (error) {
    if (isOAuthError(error)) return error.code
    throw error
  }
  return undefined
}

/** A vector as it can stand in a test title: quoted, ASCII, short. */
export function shown(text: string): string {
  const ascii = JSON.stringify(text).replace(
    /[^ -~]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  return ascii.length <= 80 ? ascii : `${ascii.slice(0, 50)}…, ${text.length} characters,`
}
