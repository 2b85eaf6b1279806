/** Parameters of the `DPoP` challenge in a `WWW-Authenticate` header; `undefined` when there is none (RFC 9110 §11.6.1). */
export function parseDpopChallenge(header: string | null): Record<string, string> | undefined {
  if (!header || header.length > 8192) return undefined
  // One pass over scheme names, parameters and commas; no alternative can match what another one did, so it stays linear.
  const token =
    /\s*(?:([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([\w!#$%&'*+.^`|~/-]+=*))|[\w.~+/-]+=+(?=\s*(?:,|$))|([\w!#$%&'*+.^`|~/-]+)|,)/gy
  let challenge: Record<string, string> | undefined
  for (let match = token.exec(header); match; match = token.exec(header)) {
    const [, name, quoted, plain, scheme] = match
    if (scheme) {
      // There may be several, one of them with what is wrong.
      if (challenge?.error !== undefined) return challenge
      challenge = scheme.toLowerCase() === 'dpop' ? Object.create(null) : undefined
    } else if (name && challenge) {
      challenge[name.toLowerCase()] = quoted?.replace(/\\(.)/g, '$1') ?? plain ?? ''
    }
  }
  return challenge
}
