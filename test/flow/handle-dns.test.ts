import { beforeEach, describe, expect, test } from 'vitest'
import { createTestClient, signInTo } from '../support/client.ts'
import {
  ALICE,
  at,
  BOB,
  createFakeNetwork,
  DOH,
  EVIL,
  type FakeNetwork,
  faults,
  PDS,
} from '../support/network.ts'

let network: FakeNetwork
beforeEach(() => {
  network = createFakeNetwork()
})

const dns = { type: 'dns', url: DOH } as const
const createClient = () => createTestClient(network, { handleResolver: dns })
const did = ALICE.did
const txt = (data: unknown, type: unknown = 16) => ({
  name: '_atproto.alice.handles.dev',
  type,
  TTL: 300,
  data,
})
const answer = (...Answer: unknown[]) => ({ Status: 0, Answer })

describe('TXT records of a handle', () => {
  test('are asked for by name and type, and the service keeps its own parameters (HDL-06)', async () => {
    const resolver = { type: 'dns', url: `${DOH}?profile=family` } as const
    await createTestClient(network, { handleResolver: resolver }).authorize('Alice.handles.dev')
    const [request] = network.requests(at.doh)
    expect(Object.fromEntries(request?.query ?? [])).toEqual({
      profile: 'family',
      name: `_atproto.${ALICE.handle}`,
      type: 'TXT',
    })
    expect(request?.headers.get('accept')).toBe('application/dns-json')
    network.assertClean()
  })

  test.each([
    ['one did=', [`did=${did}`]],
    ['the same did= twice', [`did=${did}`, `did=${did}`]],
    ['others beside it', ['v=spf1 -all', `did=${did}`, 'google-site-verification=x', 'did:plc:x']],
    [
      'other spellings of did= beside it',
      [`did=${did}`, `DID=${BOB.did}`, ` did=${BOB.did}`, `xdid=${BOB.did}`],
    ],
    ['did= in several strings', [['did=did:plc:', did.slice('did:plc:'.length)]]],
    ['did= letter by letter', [[...`did=${did}`]]],
    ['strings that are empty', [['', `did=${did}`, '']]],
  ])('name a DID when there is %s (HDL-06, B04)', async (_what, records) => {
    network.handles.set(ALICE.handle, { dns: records })
    expect((await signInTo(network, createClient(), ALICE.handle)).did).toBe(did)
    network.assertClean()
  })

  test.each([
    ['there is none', []],
    ['none begins with did=', ['v=spf1 -all', did, `DID=${did}`, ` did=${did}`, `x did=${did}`]],
  ])('name nobody when %s (HDL-06)', async (_what, records) => {
    network.handles.set(ALICE.handle, { dns: records })
    await expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({ code: 'handle_not_found' })
    expect(network.count(at.plc)).toBe(0)
    network.assertClean()
  })

  test.each([
    ['a space after did=', `did= ${did}`],
    ['a space at the end', `did=${did} `],
    ['a line feed at the end', `did=${did}\n`],
    ['nothing after did=', 'did='],
  ])('are not trimmed: %s (HDL-06)', async (_what, record) => {
    network.handles.set(ALICE.handle, { dns: [record] })
    await expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({ name: 'OAuthError' })
    expect(network.count(at.plc)).toBe(0)
  })

  test.each([
    ['the well-known file agrees with one', ALICE.did],
    ['the well-known file agrees with the other', BOB.did],
  ])('that name two DIDs are ambiguous, even if %s (HDL-06, B03)', async (_what, wellKnown) => {
    network.handles.set(ALICE.handle, { dns: [`did=${ALICE.did}`, `did=${BOB.did}`], wellKnown })
    const client = createTestClient(network, { handleResolver: [dns, { type: 'well-known' }] })
    await expect(client.authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'handle_ambiguous',
      handle: ALICE.handle,
      retryable: false,
    })
    expect(network.count(at.plc) + network.count(at.par)).toBe(0)
    network.assertClean()
  })

  test.each([
    [244, 1],
    [245, 0],
    [253, 0],
  ])(
    'of a handle of %i characters are asked for %i times, for the name may have 253 (HDL-06)',
    async (length, times) => {
      const labels = `${'a'.repeat(50)}.`.repeat(4)
      const handle = `${labels}${'b'.repeat(length - labels.length - '.dev'.length)}.dev`
      expect(handle).toHaveLength(length)
      network.addAccount({ did: 'did:plc:longlonglonglonglonglong', handle, pds: PDS })
      const client = createTestClient(network, { handleResolver: [dns, { type: 'well-known' }] })
      expect((await signInTo(network, client, handle)).account.handle).toBe(handle)
      expect(network.count(at.doh)).toBe(times)
      expect(network.count(at.wellKnown)).toBe(1 - times)
      network.assertClean()
    },
  )
})

describe('an answer of DNS over HTTPS', () => {
  test.each([
    ['with quoted data', answer(txt(`"did=${did}"`))],
    ['with bare data', answer(txt(`did=${did}`))],
    ['with escaped characters', answer(txt(`"did\\=${did.replaceAll(':', '\\:')}"`))],
    ['with several strings', answer(txt(`"did=did:plc:" "${did.slice('did:plc:'.length)}"`))],
    ['with strings that touch', answer(txt(`"did=did:plc:""${did.slice('did:plc:'.length)}"`))],
    ['with an alias before it', answer(txt('_atproto.elsewhere.dev.', 5), txt(`"did=${did}"`))],
    ['with a signature after it', answer(txt(`"did=${did}"`), txt('TXT 8 3 300 …', 46))],
    [
      'with other types that look alike',
      answer(txt(`"did=${BOB.did}"`, 5), txt(`"did=${did}"`), txt(BOB.did, '16')),
    ],
    ['with junk among the records', answer(null, 42, 'TXT', [], {}, txt(7), txt(null), txt(`"did=${did}"`))],
    ['with members nobody knows', { ...answer(txt(`"did=${did}"`)), TC: false, AD: true, Comment: ['x'] }],
  ])('%s is read (HDL-07)', async (_what, body) => {
    network.handles.set(ALICE.handle, { dns: body })
    expect((await signInTo(network, createClient(), ALICE.handle)).did).toBe(did)
    network.assertClean()
  })

  test('may call itself plain JSON (HDL-07)', async () => {
    const type = { headers: { 'content-type': 'application/json; charset=utf-8' } }
    network.on(at.doh, faults.answer(answer(txt(`"did=${did}"`)), type), { times: 1 })
    expect((await signInTo(network, createClient(), ALICE.handle)).did).toBe(did)
    network.assertClean()
  })

  test.each([
    ['no such name', { Status: 3 }],
    ['no such name, with records', { Status: 3, Answer: [txt(`"did=${did}"`)] }],
    ['no records', { Status: 0 }],
    ['an empty list of records', { Status: 0, Answer: [] }],
    ['only records of other types', answer(txt('elsewhere.dev.', 5), txt(`"did=${did}"`, 99))],
  ])('that has %s means that there is no such handle (HDL-07)', async (_what, body) => {
    network.handles.set(ALICE.handle, { dns: body })
    await expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({ code: 'handle_not_found' })
    expect(network.count(at.plc)).toBe(0)
    network.assertClean()
  })

  test.each([
    ['a server failure', { Status: 2, Answer: [txt(`"did=${did}"`)] }],
    ['a refusal', { Status: 5 }],
    ['a format error', { Status: 1 }],
    ['a status that is a string', { Status: '0', Answer: [txt(`"did=${did}"`)] }],
    ['no status', { Answer: [txt(`"did=${did}"`)] }],
    ['records that are no list', { Status: 0, Answer: { 0: txt(`"did=${did}"`) } }],
  ])('that has %s means nothing (HDL-07)', async (_what, body) => {
    network.on(at.doh, faults.answer(body, { headers: { 'content-type': 'application/dns-json' } }), {
      times: 1,
    })
    await expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({
      code: 'response_invalid',
      url: DOH,
    })
    expect(network.count(at.plc)).toBe(0)
    network.assertClean()
  })

  test.each([
    [
      'is a server failure',
      faults.answer({ Status: 2 }, { headers: { 'content-type': 'application/dns-json' } }),
    ],
    ['is a page', faults.html()],
    ['is an error', faults.status(502)],
    ['is broken JSON', faults.text('{"Status":0', 'application/dns-json')],
    ['is a redirect', faults.redirectTo(`${EVIL}/dns-query`)],
    ['never ends', faults.endlessBody('application/dns-json')],
    ['never comes', faults.unreachable()],
  ])('that %s is made up for by the well-known file (HDL-05, B06)', async (_what, fault) => {
    network.on(at.doh, fault, { times: 1 })
    const client = createTestClient(network, { handleResolver: [dns, { type: 'well-known' }] })
    expect((await signInTo(network, client, ALICE.handle)).did).toBe(did)
    expect(network.count(at.doh)).toBe(1)
    expect(network.count(at.evil)).toBe(0)
    expect(network.requests(at.doh)[0]?.bytesDelivered).toBeLessThanOrEqual(16_384 + 1024)
    network.assertClean()
  })

  test('is not read past 16 KiB (DID-12, B06)', async () => {
    network.on(at.doh, faults.endlessBody('application/dns-json'), { times: 1 })
    await expect(createClient().authorize(ALICE.handle)).rejects.toMatchObject({ code: 'response_invalid' })
    const [request] = network.requests(at.doh)
    expect(request?.bytesDelivered).toBeLessThanOrEqual(16_384 + 1024)
    expect(request?.bodyCancelled).toBe(true)
  })
})
