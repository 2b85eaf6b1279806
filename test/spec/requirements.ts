type Level = 'MUST' | 'MUST NOT' | 'SHOULD' | 'MAY'

/**
 * Whom a row binds:
 * - `public`: this package, as a public client in a browser
 * - `confidential`: only a client that authenticates with a key of its own
 * - `server`: only whoever hosts or deploys the client metadata document
 * - `later`: a part of the matrix that this package does not implement yet
 */
type Scope = 'public' | 'confidential' | 'server' | 'later'

export interface Requirement {
  readonly id: string
  readonly level: Level
  readonly stage: string
  readonly text: string
  readonly scope: Scope
  /** Why the row does not bind a public client. Present exactly when `scope` is not `public`. */
  readonly note?: string
}

type Row = Omit<Requirement, 'stage'>
type Exemption = Pick<Requirement, 'scope' | 'note'>

const row =
  (level: Level) =>
  (id: string, text: string, exemption: Exemption = { scope: 'public' }): Row => ({
    id,
    level,
    text,
    ...exemption,
  })
const must = row('MUST')
const mustNot = row('MUST NOT')
const should = row('SHOULD')
const may = row('MAY')

const confidential = (note: string): Exemption => ({ scope: 'confidential', note })
const server = (note: string): Exemption => ({ scope: 'server', note })

const stages: Record<string, readonly Row[]> = {
  'Client metadata': [
    must('CMETA-01', 'A published client is identified by a well-formed https URL that serves its metadata.'),
    must('CMETA-02', 'A client_id with a port is refused, as the atproto profile has it.'),
    must(
      'CMETA-03',
      'A client_id is a canonical URL with a real path: no fragment, userinfo or dot segments.',
    ),
    should('CMETA-04', 'A client_id follows the conventional path and has no query.'),
    must('CMETA-05', 'Metadata counts only when answered with 200, as a JSON object, without a redirect.'),
    must('CMETA-06', 'The client_id inside the document is, letter for letter, the URL it came from.'),
    must('CMETA-07', 'grant_types has authorization_code, and refresh_token if sessions are to be renewed.'),
    must('CMETA-08', 'The document has the code response type, a redirect URI and DPoP-bound tokens.'),
    must(
      'CMETA-09',
      'The declared scope has atproto, no doubles, and every value later asked for, literally.',
    ),
    must('CMETA-10', 'A public client spells out the authentication method none.'),
    must(
      'CMETA-11',
      'A confidential client declares private_key_jwt, its algorithm and exactly one source of keys.',
      confidential('a public client has no signing key to declare'),
    ),
    must('CMETA-12', 'A shared secret is neither declared nor sent.'),
    must('CMETA-13', 'A web redirect URI is plain https on a public name: no default port, no credentials.'),
    may('CMETA-14', 'Redirect URI and metadata may live on different origins.'),
    must('CMETA-15', 'Loopback and private-use redirect URIs are for native clients only.'),
    must('CMETA-16', 'client_uri stays on the host of client_id; the other links of the document are https.'),
    should(
      'CMETA-17',
      'New scopes are declared by the deployed document before an app asks for them.',
      server('the order of deployment is in the hands of whoever operates the app'),
    ),
  ],

  'Loopback client': [
    must(
      'LOOP-01',
      'A development client_id is http://localhost with nothing but scope and redirect_uri keys.',
    ),
    must(
      'LOOP-02',
      'Loopback redirects use an IP address, never the name localhost; both roots are the default.',
    ),
    must('LOOP-03', 'Redirect paths are compared, ports are not; so no port is ever declared.'),
    must('LOOP-04', 'Scopes beyond atproto are declared in the client_id itself.'),
    must('LOOP-05', 'The implied metadata is that of a native, public, DPoP-bound client.'),
    must(
      'LOOP-06',
      'A page on localhost moves to the loopback address, or is refused, before anything is stored.',
    ),
    must('LOOP-07', 'The path of the page goes into redirect_uri and never into the client_id path.'),
    should('LOOP-08', 'A server that does not take loopback clients is reported as exactly that.'),
  ],

  Handles: [
    must('HDL-01', 'Handles are checked against the handle syntax.'),
    must('HDL-02', 'Handles are lower-cased before they are looked up, stored or sent.'),
    must('HDL-03', 'Reserved top-level domains are refused without a request; .test is for development.'),
    should('HDL-04', 'A leading @, spaces and invisible marks around what was typed are dropped.'),
    must('HDL-05', 'Handles published only in DNS and handles published only over HTTPS both resolve.'),
    must('HDL-06', 'Of the TXT records only did= ones count, and two different DIDs are a failure.'),
    must('HDL-07', 'DNS over HTTPS answers are read by status and record type, and their data unquoted.'),
    must('HDL-08', 'The well-known file is read from any 2xx answer; its first line is the DID.'),
    may('HDL-09', 'The well-known file may be behind a few redirects.'),
    should('HDL-10', 'Methods run side by side; a conflict goes to DNS or is reported.'),
    must('HDL-11', 'A 400 of an XRPC resolver means not found; other failures are errors.'),
    must('HDL-12', 'Only a did:plc or did:web is accepted as the result.'),
    must('HDL-13', 'A typed handle that its DID document does not claim ends the sign-in.'),
    should('HDL-14', 'When a DID was typed, a handle that cannot be verified is no obstacle.'),
    should('HDL-15', 'Identities are cached for less than ten minutes during sign-in.'),
  ],

  'DIDs and DID documents': [
    must('DID-01', 'Malformed, unsupported and unresolvable DIDs are told apart.'),
    must('DID-02', 'DIDs are checked against the DID syntax, case included.'),
    must('DID-03', 'A did:plc has exactly 24 base32 characters after its prefix.'),
    must('DID-04', 'A did:plc is looked up in the PLC directory, whose address can be changed.'),
    must('DID-05', 'A did:web is a public host name and nothing else, read from its well-known document.'),
    should('DID-06', 'A did:web over plain http is refused outside of development.'),
    must('DID-07', 'A document about another DID is refused.'),
    must('DID-08', 'The claimed handle is the first entry of alsoKnownAs that is a valid bare at:// handle.'),
    must('DID-09', 'The PDS is the first service with the right id and the right type.'),
    must('DID-10', 'A PDS endpoint is an https origin with nothing after or before the host.'),
    should('DID-11', 'An account without a PDS is reported as such.'),
    should('DID-12', 'Identity answers are limited in size and time.'),
    must('DID-13', 'The DID found at the start is kept with the pending request and identifies the account.'),
    must('DID-14', 'Sign-in can start from a server address; then only the issuer is bound.'),
  ],

  'Protected resource metadata': [
    must('PRM-01', 'Metadata of a PDS is read from its well-known address.'),
    must('PRM-02', 'Only a direct 200 answer holding a JSON object counts.'),
    must('PRM-03', 'The resource named is exactly the origin that was asked.'),
    must('PRM-04', 'Exactly one authorization server is named.'),
    must('PRM-05', 'That server is named by a bare https origin.'),
    must('PRM-06', 'The request needs no CORS preflight.'),
    should(
      'PRM-07',
      'A missing document means the host is its own issuer only if sign-in began with the host.',
    ),
  ],

  'Authorization server metadata': [
    must('ASM-01', 'Metadata of an issuer is a JSON object from its well-known address, without a redirect.'),
    must('ASM-02', 'The issuer named is exactly the one that was asked.'),
    must('ASM-03', 'The authorization endpoint is https, and no script or data URL.'),
    must('ASM-04', 'A token endpoint over https is required.'),
    must('ASM-05', 'The server offers the response type code.'),
    must('ASM-06', 'The server offers the code grant and the refresh grant.'),
    must('ASM-07', 'The server offers S256.'),
    must('ASM-08', 'The server takes public clients as well as clients with a key.'),
    must('ASM-09', 'The server takes ES256 and does not take unsigned client assertions.'),
    must('ASM-10', 'The server knows the scope atproto.'),
    must('ASM-11', 'The server promises iss in its responses.'),
    must('ASM-12', 'The server demands pushed authorization requests and has an https endpoint for them.'),
    must('ASM-13', 'The server takes ES256 proofs.'),
    must('ASM-14', 'The server does not switch off the registration of request URIs.'),
    must('ASM-15', 'The server reads client metadata documents.'),
    should('ASM-16', 'A list of protected resources that leaves out the PDS is a contradiction.'),
    should('ASM-17', 'Signing out works with a server that has no revocation endpoint.'),
    should('ASM-18', 'A response mode the server does not offer is not asked for.'),
    should('ASM-19', 'A prompt the server does not offer is not sent unnoticed.'),
    must('ASM-20', 'Endpoints are taken only from the validated metadata of the issuer in question.'),
    must('ASM-21', 'Every endpoint of the server is https.'),
  ],

  'Pushed authorization request': [
    must('PAR-01', 'Parameters are always pushed and never travel in the address bar.'),
    must('PAR-02', 'The request is a form-encoded POST with client_id and without request_uri.'),
    must('PAR-03', 'Only 201 with a request_uri and a positive lifetime is a success.'),
    must('PAR-04', 'The authorization URL gets client_id and request_uri and keeps what it had.'),
    must('PAR-05', 'An expired request_uri is not used; the request is pushed again or refused.'),
    must('PAR-06', 'The request is bound to the key of the session, by proof or thumbprint.'),
    must('PAR-07', 'A nonce challenge is answered once, with unchanged parameters.'),
    must('PAR-08', 'Everything the callback needs is stored before the page leaves, none of it in state.'),
    should('PAR-09', 'Every refusal becomes a typed error, whatever its status or body.'),
    should('PAR-10', 'No request headers of our own beyond the content type and the proof.'),
  ],

  'Authorization request parameters': [
    must('REQ-01', 'The seven parameters of a code request with PKCE are always sent.'),
    must('REQ-02', 'The redirect URI is a declared one and always sent.'),
    must('REQ-03', 'The scope is well-formed, has atproto and was declared.'),
    must('REQ-04', 'state is new, random and at least 128 bits long every time.'),
    should('REQ-05', 'login_hint is what the person typed, tidied; a server address gives none.'),
    must('REQ-06', 'Nothing but a handle or a DID is sent as login_hint.'),
    may('REQ-07', 'prompt is one known value at most.'),
    must('REQ-08', 'Silent sign-in that a server will not do leads to an interactive one.'),
    may('REQ-09', 'prompt=login and prompt=consent are passed on as wishes, without a promise.'),
    may('REQ-10', 'The answer that an account must be selected is handled.'),
    may('REQ-11', 'Sign-up starts from a server address, without a hint.'),
    may('REQ-12', 'Only known values of display are sent.'),
    must('REQ-13', 'Interface languages are reduced to the form that servers accept.'),
    should('REQ-14', 'The response is asked for in the fragment and understood in either place.'),
    must('REQ-15', 'OpenID Connect parameters and scopes are never sent.'),
    may('REQ-16', 'Further parameters cannot replace those of the protocol.'),
  ],

  PKCE: [
    must('PKCE-01', 'Every request has a new random verifier of legal length and alphabet.'),
    must('PKCE-02', 'The challenge is the unpadded base64url SHA-256 of the verifier; plain is not used.'),
    must('PKCE-03', 'No challenge is used for two sign-ins.'),
    must('PKCE-04', 'The verifier is sent only with the code and forgotten afterwards.'),
  ],

  'DPoP proofs': [
    must('DPOP-01', 'Every bound request carries exactly one proof.'),
    must('DPOP-02', 'A proof says its type and algorithm and shows only the public half of the key.'),
    must('DPOP-03', 'The algorithm is one the server lists; ES256 always will do.'),
    must('DPOP-04', 'Every proof has an unguessable jti of its own.'),
    must('DPOP-05', 'htm is the method as it is sent.'),
    must('DPOP-06', 'htu is the requested URL without query and fragment.'),
    must('DPOP-07', 'iat is the second in which the proof was signed.'),
    must('DPOP-08', 'ath hashes the access token, on resource requests and nowhere else.'),
    mustNot('DPOP-09', 'A proof has no iss and no claims of our own.'),
    must('DPOP-10', 'nonce is the newest one this server gave, and absent at first contact.'),
    must('DPOP-11', 'A new nonce is learned from any answer, good or bad.'),
    must('DPOP-12', 'Nonces are kept apart by origin.'),
    should('DPOP-13', 'Nonces are kept apart by session too.'),
    must('DPOP-14', 'An authorization server asks for a nonce by 400 and the error use_dpop_nonce.'),
    must('DPOP-15', 'A PDS asks for a nonce by 401 and a DPoP challenge, wherever it stands in the header.'),
    should('DPOP-16', 'A challenge that CORS hides is recognised by the body.'),
    must('DPOP-17', 'A nonce challenge is answered once per request, with a new proof.'),
    must('DPOP-18', 'A body that cannot be sent twice is not lost unnoticed.'),
    must('DPOP-19', 'An answer of an authorization server without a nonce is refused where nothing is lost.'),
    must('DPOP-20', 'Every session has a key pair of its own, for all its life.'),
    should('DPOP-21', 'The private key cannot be exported and survives a reload.'),
    must(
      'DPOP-22',
      'The proof key is not the key the client authenticates with.',
      confidential('a public client has no second key to compare with'),
    ),
    should('DPOP-23', 'A wrong device clock is recognised as the cause of a refused proof.'),
    should('DPOP-24', 'An old nonce costs one more round trip and never an error.'),
    should('DPOP-25', 'Of many requests without a nonce one goes ahead.'),
  ],

  Callback: [
    must('CB-01', 'Only a response to a stored, unexpired request is accepted.'),
    must('CB-02', 'The stored request is taken once, before any request is made.'),
    must('CB-03', 'iss is there and is exactly the issuer the request was pushed to.'),
    must('CB-04', 'iss is checked on refusals as well.'),
    must('CB-05', 'A response with an error redeems nothing and says what happened.'),
    must('CB-06', 'Every standard error, and any other, becomes a typed error.'),
    must('CB-07', 'A response with neither code nor error is refused.'),
    must('CB-08', 'A parameter given twice is refused.'),
    must('CB-09', 'The response leaves the address bar at once; what belongs to the app stays.'),
    must('CB-10', 'A response is redeemed only on the page it was sent to.'),
    must('CB-11', 'Tokens and signed responses in the URL are not taken for a success.'),
    should('CB-12', 'A pending request lives long enough for a person, then is purged.'),
    must('CB-13', 'State of the app is data; nobody is sent to a URL found in it.'),
    must('CB-14', 'A popup hands its result only to its own origin.'),
    should('CB-15', 'A popup works when the sign-in page severs it from its opener.'),
    must('CB-16', 'No sign-in happens in a hidden frame.'),
  ],

  'Token response': [
    must('TOK-01', 'The code goes out with verifier, client, redirect URI and a proof by the same key.'),
    mustNot('TOK-02', 'A code is not redeemed twice.'),
    may('TOK-03', 'An exchange refused for its nonce may be repeated.'),
    must('TOK-04', 'Only a 200 answer in JSON with an access token is a success.'),
    must('TOK-05', 'The token type is DPoP, in any case of letters.'),
    must('TOK-06', 'A grant without atproto is thrown away.'),
    must('TOK-07', 'The scope that was granted is kept, not the one that was asked for.'),
    must('TOK-08', 'sub is a DID of a supported method.'),
    must('TOK-09', 'sub is the account that sign-in began with.'),
    must('TOK-10', 'If sign-in began with a server, sub leads back to that issuer before a session exists.'),
    must('TOK-11', 'Tokens of a refused response are revoked and not stored.'),
    should(
      'TOK-12',
      'Tokens are opaque; their end is counted from when they were asked for, if told at all.',
    ),
    must('TOK-13', 'An id_token and unknown members do no harm.'),
    must('TOK-14', 'A session remembers account, issuer, PDS, client and key together.'),
    should('TOK-15', 'A new session of an account replaces the old one, which is revoked without waiting.'),
  ],

  Refresh: [
    must('REF-01', 'Refreshing sends the refresh token with the client and the key of the session.'),
    must('REF-02', 'A rotated refresh token is stored before its access token is used.'),
    should('REF-03', 'When no new refresh token comes, the old one is kept.'),
    must('REF-04', 'However many tabs and calls want one, only one refresh is under way.'),
    must('REF-05', 'Without Web Locks a spent refresh token does not cost the session.'),
    must('REF-06', 'A refresh that was sent is finished, even if its caller gives up.'),
    must('REF-07', 'Only invalid_grant ends a session; no other failure does.'),
    must('REF-08', 'After an answer that may be lost, the store is read before the token is used again.'),
    must('REF-09', 'A refreshed grant is for the same account, with atproto and DPoP.'),
    should('REF-10', 'Refreshing begins some time before the token expires.'),
    must('REF-11', 'Any lifetime of a token works, and so does none.'),
    should('REF-12', 'The fixed end of a public session is known and announced ahead.'),
    must('REF-13', 'Requests that an own refresh made fail are repeated with the newer token.'),
    may('REF-14', 'An account that moved to another server is noticed.'),
    should('REF-15', 'No refresh is started while the page goes away.'),
  ],

  'Revocation and sign-out': [
    should('REV-01', 'Signing out revokes at the server and always forgets locally.'),
    should('REV-02', 'It is the refresh token that is revoked.'),
    must('REV-03', 'A revocation carries the client_id and a proof.'),
    must(
      'REV-04',
      'A confidential client authenticates its revocation too.',
      confidential('a public client has no assertion to send'),
    ),
    must('REV-05', 'A 200 answer is not taken as evidence; a nonce challenge is answered.'),
    should('REV-06', 'Other tabs drop the session as well.'),
    may('REV-07', 'Access tokens may outlive their session for a while; nothing says otherwise.'),
  ],

  'Resource requests': [
    must('RS-01', 'The access token travels in the DPoP authorization header and nowhere else.'),
    must('RS-02', 'Credentials go to the PDS of the session and to no other origin.'),
    should('RS-03', 'Credentials do not follow a redirect.'),
    must('RS-04', 'A nonce challenge of a PDS is answered by one retry.'),
    should('RS-05', 'A refused token is replaced, by a stored one or one refresh, for one retry.'),
    mustNot('RS-06', 'No other refusal leads to a refresh or ends a session.'),
    should('RS-07', 'A new token that is refused too is reported and the session kept.'),
    must('RS-08', 'Whatever fetch takes is taken, and headers of the app other than ours are kept.'),
    should('RS-09', 'Public endpoints can be called without credentials.'),
    should('RS-10', 'Writes are not repeated blindly, and Retry-After is honoured.'),
    must('RS-11', 'Where requests go is said by the DID document and not by the token.'),
  ],

  'Scopes and permissions': [
    must('SCOPE-01', 'Scope strings are parsed by their general form.'),
    must('SCOPE-02', 'Doubled, unknown or invalid parameters void a scope string.'),
    must('SCOPE-03', 'atproto is always part of the scope.'),
    must('SCOPE-04', 'The three transition scopes are known, and no others.'),
    must('SCOPE-05', 'repo scopes name collections and actions.'),
    must('SCOPE-06', 'rpc scopes name methods and one audience, not both by wildcard.'),
    must('SCOPE-07', 'blob scopes name media types or ranges of them.'),
    must('SCOPE-08', 'account scopes name one attribute, to read or to manage.'),
    must('SCOPE-09', 'identity scopes name the handle or everything.'),
    must('SCOPE-10', 'include scopes name a permission set and perhaps an audience.'),
    must('SCOPE-11', 'The hash sign of an audience is percent-encoded.'),
    must('SCOPE-12', 'A permission set grants only what a set may, under its own namespace.'),
    must('SCOPE-13', 'Granted scopes are compared by meaning.'),
    must('SCOPE-14', 'Scopes that a server drops without a word are noticed.'),
    must('SCOPE-15', 'Scopes that a server refuses are named in the error.'),
    should('SCOPE-16', 'A larger scope can be asked for without risking the session at hand.'),
    may('SCOPE-17', 'Scopes of the future can pass, marked as unknown.'),
    should('SCOPE-18', 'Little is asked for by default.'),
  ],

  'Client assertion backend': [
    must('CAB-01', 'All four requests to the server carry a client assertion.'),
    must('CAB-02', 'An assertion has the claims and the key id that servers look for.'),
    must('CAB-03', 'An assertion is dated slightly back and lives for a minute at most.'),
    must('CAB-04', 'An assertion is bound to the proof key.'),
    must('CAB-05', 'The backend is asked with a proof for its own URL.'),
    must('CAB-06', 'An assertion serves one request, nonce retry included.'),
    must('CAB-07', 'A session stays with the client key it began with.'),
    must('CAB-08', 'A refusal by the backend is told apart from one by the server.'),
    must('CAB-09', 'The backend answers its own origin only, checks the proof and keeps the key.'),
    may('CAB-10', 'What confidential clients gain is within reach: silent sign-in and long sessions.'),
    should('CAB-11', 'Sessions of a client that becomes confidential go on.'),
  ],

  'Storage and security': [
    must('STO-01', 'Secrets appear in no cookie, URL, log, error or event.'),
    should('STO-02', 'Tokens are in IndexedDB and not in localStorage.'),
    must('STO-03', 'Storage that does not work is noticed before the page leaves.'),
    must('STO-04', 'Tokens that cannot be stored are revoked, loudly.'),
    must('STO-05', 'Abandoned requests are purged although nobody reads them.'),
    should('STO-06', 'Accounts are separate records, so that no tab undoes the work of another.'),
    must('STO-07', 'Clients that share an origin do not share state.'),
    must('STO-08', 'An insecure context is refused by name.'),
    should('STO-09', 'All randomness comes from the Web Cryptography API.'),
    must('STO-10', 'Every request has a time limit.'),
    should('STO-11', 'Requests send no cookies and no referrer and follow no redirects.'),
    must('STO-12', 'JSON from the network cannot reach a prototype or an option.'),
    should('STO-13', 'Messages between tabs hold nothing secret.'),
    should('STO-14', 'Apps can list sessions and learn what becomes of them, and why.'),
    should('STO-15', 'Restoring a session needs no network.'),
  ],
}

const later: Record<string, string> = {
  'Scopes and permissions': 'the scope builder and parser are not part of this package yet',
  'Client assertion backend': 'the confidential mode is not part of this package yet',
}

/** Every rule that a browser client on the AT Protocol has to follow, in the order of the protocol. */
export const requirements: readonly Requirement[] = Object.entries(stages).flatMap(([stage, rows]) => {
  const note = later[stage]
  return rows.map((entry) => ({
    ...entry,
    stage,
    ...(note !== undefined && { scope: 'later' as const, note }),
  }))
})

/** A row that has to be proven by a passing test. */
export function isRequired({ level, scope }: Requirement): boolean {
  return scope === 'public' && (level === 'MUST' || level === 'MUST NOT')
}
