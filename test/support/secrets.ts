/**
 * Searches everything that can be reached from a value for secrets: strings, own and inherited
 * properties whether enumerable or not, symbols, causes, maps, sets, buffers.
 *
 * @param secrets - What to look for, and how to call it.
 * @returns `kind at path` for each find.
 */
export function findSecrets(value: unknown, secrets: ReadonlyMap<string, string>): string[] {
  const found: string[] = []
  const seen = new Set<object>()
  const queue: { value: unknown; path: string }[] = [{ value, path: '·' }]
  for (let next = queue.shift(); next; next = queue.shift()) {
    const { value: current, path } = next
    if (typeof current === 'string') {
      for (const [secret, kind] of secrets) {
        if (current.includes(secret)) found.push(`${kind} at ${path}`)
      }
      continue
    }
    if (
      (typeof current !== 'object' && typeof current !== 'function') ||
      current === null ||
      seen.has(current)
    )
      continue
    seen.add(current)
    if (ArrayBuffer.isView(current))
      queue.push({ value: Buffer.from(current.buffer).toString('latin1'), path: `${path}.bytes` })
    if (current instanceof Map || current instanceof Headers || current instanceof URLSearchParams) {
      for (const [key, item] of current)
        queue.push({ value: key, path: `${path}(key)` }, { value: item, path: `${path}(${String(key)})` })
    }
    if (current instanceof Set) for (const item of current) queue.push({ value: item, path: `${path}(item)` })
    if (current instanceof URL) queue.push({ value: current.href, path: `${path}.href` })
    for (
      let holder: object | null = current;
      holder && !BUILT_IN.has(holder);
      holder = Object.getPrototypeOf(holder)
    ) {
      for (const key of Reflect.ownKeys(holder))
        queue.push({ value: read(current, key), path: `${path}.${String(key)}` })
    }
  }
  return found
}

const BUILT_IN = new Set<object>(
  [Object, Function, Array, Error, Map, Set, Promise, Date, RegExp].map(
    ({ prototype }) => prototype as object,
  ),
)

function read(holder: object, key: PropertyKey): unknown {
  try {
    return Reflect.get(holder, key)
  } catch {
    return undefined
  }
}
