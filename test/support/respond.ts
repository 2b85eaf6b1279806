/** A JSON answer. */
export function json(value: unknown, init: { status?: number; headers?: HeadersInit } = {}): Response {
  const headers = new Headers(init.headers)
  if (!headers.has('content-type')) headers.set('content-type', 'application/json')
  return new Response(JSON.stringify(value), { status: init.status ?? 200, headers })
}

/** An OAuth error answer. */
export function oauthErrorResponse(error: string, description?: string, status = 400): Response {
  return json({ error, ...(description !== undefined && { error_description: description }) }, { status })
}

export function xrpcError(
  status: number,
  error: string,
  message: string,
  headers: HeadersInit = {},
): Response {
  return json({ error, message }, { status, headers })
}

/** A refusal that unwinds to the endpoint that was asked. */
export class Refusal extends Error {
  readonly error: string
  readonly status: number
  constructor(error: string, description: string, status = 400) {
    super(description)
    this.error = error
    this.status = status
  }

  toResponse(): Response {
    return oauthErrorResponse(this.error, this.message, this.status)
  }
}

/** A mandatory parameter. */
export function need(form: Readonly<Record<string, string>>, name: string): string {
  const value = form[name]
  if (!value) throw new Refusal('invalid_request', `${name} is required`)
  return value
}
