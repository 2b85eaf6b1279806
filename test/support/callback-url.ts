/** Changes parameters of a callback URL, wherever they are: `null` removes, an array repeats. */
export function editCallback(
  url: string,
  changes: Record<string, string | readonly string[] | null>,
): string {
  const target = new URL(url)
  const inFragment = target.hash !== ''
  const parameters = new URLSearchParams(inFragment ? target.hash.slice(1) : target.search)
  for (const [name, value] of Object.entries(changes)) {
    parameters.delete(name)
    if (value === null) continue
    for (const each of typeof value === 'string' ? [value] : value) parameters.append(name, each)
  }
  if (inFragment) target.hash = parameters.toString()
  else target.search = parameters.toString()
  return target.href
}

/** The parameters of a callback URL, in the query or the fragment. */
export function callbackParameters(url: string): URLSearchParams {
  const { hash, search } = new URL(url)
  return new URLSearchParams(hash === '' ? search : hash.slice(1))
}
