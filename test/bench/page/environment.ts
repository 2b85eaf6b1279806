// What the driver may change under a client, whichever it is. Put in place before the client is created.
const { now } = Date
const network = window.fetch

export const environment = {
  /** Milliseconds by which the device's clock is wrong. */
  clockOffset: Number(new URLSearchParams(location.search).get('clock')),
  /** Answers every request at once, so that nothing but the client's own time passes. */
  answer: undefined as Response | undefined,
  /** Whether a private key was made that can be read. */
  readableKey: false,
}

Date.now = () => now.call(Date) + environment.clockOffset
window.fetch = (...args) =>
  environment.answer ? Promise.resolve(environment.answer) : network.apply(window, args)

const { subtle } = crypto
for (const method of ['generateKey', 'importKey'] as const) {
  const make = subtle[method].bind(subtle) as (...args: unknown[]) => Promise<CryptoKey | CryptoKeyPair>
  subtle[method] = async (...args: unknown[]) => {
    const made = await make(...args)
    const key = 'privateKey' in made ? made.privateKey : made
    if (key.type === 'private' && key.extractable) environment.readableKey = true
    return made as never
  }
}
