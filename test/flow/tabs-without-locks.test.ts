import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { ALICE, at, type FakeRequest, faults } from '../support/network.ts'
import { json } from '../support/respond.ts'
import { failureOf } from './failure.ts'
import { HOUR, PING, refreshes, SECOND } from './signed-in.ts'
import { readRow, signedInBrowser } from './tabs.ts'

beforeAll(() => {
  vi.stubGlobal('navigator', { onLine: true, languages: ['en'] })
})

afterAll(() => {
  vi.unstubAllGlobals()
})

test.each([2, 8])(
  '%i tabs refresh once, the others adopt what the first has stored (REF-05, L01)',
  async (tabs) => {
    const browser = await signedInBrowser()
    const { network } = browser
    const open = await browser.openTabs(tabs)
    network.clock.advance(2 * HOUR)
    const answers = await Promise.all(
      open.flatMap(({ session }) => [session.fetch(PING), session.fetch(PING)]),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(2 * tabs).fill(200))
    expect(refreshes(network)).toBe(1)
    for (const { session } of open) expect(session.expiresAt).toBe(open[0]?.session.expiresAt)
    network.assertClean()
  },
)

test('a refresh that another tab has begun is waited for (REF-05, L01)', async () => {
  const browser = await signedInBrowser()
  const { network } = browser
  const other = await browser.openTab()
  network.clock.advance(2 * HOUR)
  const refresh = faults.hold()
  network.on(at.refresh, refresh.handler)
  const first = browser.session.fetch(PING)
  await refresh.reached
  const sent = network.count(at.refresh)
  const second = other.session.fetch(PING)
  await other.client.restore(ALICE.did)
  expect(network.count(at.refresh)).toBe(sent)
  refresh.release()
  for (const { status } of await Promise.all([first, second])) expect(status).toBe(200)
  expect(refreshes(network)).toBe(1)
  network.assertClean()
})

test('a tab that was refused adopts what another one has stored meanwhile, instead of ending the session (REF-05, L01)', async () => {
  const browser = await signedInBrowser()
  const { network, namespace } = browser
  const other = await browser.openTab()
  network.clock.advance(2 * HOUR)
  const slow = faults.hold({ after: true })
  const processed = {
    ...at.refresh,
    where: (request: FakeRequest) => request.proof?.payload.nonce !== undefined,
  }
  network.on(processed, slow.handler, { times: 1 })
  const first = browser.session.fetch(PING)
  await slow.reached

  // Longer than any refresh takes: the first tab seems to be gone.
  network.clock.advance(46 * SECOND)
  const refused = faults.hold()
  network.on(at.refresh, (request) =>
    refused.handler(request, async () => json({ error: 'invalid_grant' }, { status: 400 })),
  )
  const second = other.session.fetch(PING)
  await refused.reached
  slow.release()
  expect((await first).status).toBe(200)
  refused.release()
  expect((await second).status).toBe(200)
  expect(other.session.expiresAt).toBe(browser.session.expiresAt)
  expect((await readRow(namespace, ALICE.did))?.record.ended).toBeUndefined()
  network.assertClean()
})

test('a refusal that nobody can explain ends the session (REF-05, REF-07)', async () => {
  const { network, session } = await signedInBrowser()
  network.clock.advance(2 * HOUR)
  network.revokeSession(ALICE.did)
  expect(await failureOf(network, session.fetch(PING))).toMatchObject({
    code: 'session_ended',
    reason: 'refresh_rejected',
  })
})

test('the tokens of a slow tab are not revoked when another has newer ones of the same session (REF-05)', async () => {
  const { network, openTab, session } = await signedInBrowser()
  const other = await openTab()
  const held = faults.hold({ after: true })
  let answers = 0
  // A server with a grace period takes a refresh token twice.
  network.on(at.refresh, async (request) => {
    const answer = ++answers
    if (answer === 1) await held.handler(request, async () => new Response())
    return json({
      access_token: `access-${answer}`,
      refresh_token: `refresh-${answer}`,
      token_type: 'DPoP',
      scope: 'atproto transition:generic',
      sub: ALICE.did,
      expires_in: 3600,
    })
  })
  const slow = session.refresh()
  await held.reached
  network.clock.advance(46 * SECOND)
  await other.session.refresh()
  held.release()
  await slow
  expect(network.count(at.revoke)).toBe(0)
})
