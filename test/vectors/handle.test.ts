import { describe, expect, test } from 'vitest'
import { parseIdentifier } from '../../src/identity/identifier.ts'
import { errorCode, shown } from './refusal.ts'

const letters = (count: number): string => 'abcdefghij'.repeat(7).slice(0, count)

const valid = [
  'alice.com',
  'alice.bsky.social',
  'a.co',
  'x.y.z.org',
  'a.b.c.d.e.f.g.h.i.j.net',
  'name.t',
  'name.t0',
  'name.t-t',
  'name.museum',
  '4chan.org',
  '1.com',
  '0.0.0.net',
  '8.8.8.8.net',
  '127.0.0.1.org',
  '2024.conference.events',
  'a1.b2.c3',
  'a-b.com',
  'a--b.com',
  'a---b.c--d.com',
  '1-2-3.com',
  'my-long-name.my-host.co.uk',
  'www.alice.com',
  'did.com',
  'did-plc.com',
  'at.alice.com',
  'https.com',
  'test.com',
  'test.test.org',
  'local.net',
  'localhost.com',
  'onion.link',
  'alt.arpa.org',
  'example.com',
  'internal.example.org',
  'invalid.dev',
  'handle.invalid.com',
  'locals.localx',
  'alice.testing',
  'alice.examples',
  'xn--bcher-kva.com',
  'xn--80ak6aa92e.com',
  'alice.xn--fiqs8s',
  'xn--fiqa61au8b7zsevnm8ak20mc4a87e.xn--fiqs8s',
  'xn--ls8h.la',
  `${letters(63)}.com`,
  `alice.${letters(63)}`,
  `${letters(63)}.${letters(63)}.${letters(63)}.${letters(57)}.org`,
]

const malformed = [
  '',
  ' ',
  '.',
  '..',
  '-',
  'alice',
  'com',
  'a',
  '.com',
  '.alice.com',
  'alice.com.',
  'alice..com',
  'alice.com..',
  '-alice.com',
  'alice-.com',
  '-.com',
  'a.-b.com',
  'a.b-.com',
  'alice.-com',
  'alice.com-',
  'alice.1com',
  'alice.0',
  'alice.123',
  'alice.2024',
  '1.2.3',
  '127.0.0.1',
  '0x7f.1',
  '[::1]',
  '::1',
  '2001:db8::1',
  'al_ice.com',
  '_atproto.alice.com',
  'alice.c_m',
  'ali ce.com',
  'alice .com',
  'alice. com',
  'alice\t.com',
  'alice\n.com',
  'alice\r\nbob.com',
  'alice\0.com',
  'alice.com\0.org',
  'alice.com/',
  'alice.com/profile',
  'alice.com?x=1',
  'alice.com#me',
  'alice.com:443',
  'alice:bob.com',
  '//alice.com',
  'alice\\.com',
  'alice,com',
  'alice.com,bob.com',
  'alice.com bob.com',
  'alice;.com',
  'alice!.com',
  'alice+bob.com',
  'alice&bob.com',
  'alice=.com',
  '$alice.com',
  '~alice.com',
  '*.alice.com',
  '"alice.com"',
  "alice'.com",
  '<alice.com>',
  '(alice).com',
  '{alice}.com',
  'alice%2ecom',
  'alice%00.com',
  '@',
  '@@alice.com',
  'alice.com@',
  'at@alice',
  'älice.com',
  'alice.cöm',
  'alice\u3002com',
  '\uff41lice.com',
  '\u0430lice.com',
  '\u{1f338}.com',
  'al\u200bice.com',
  'al\u200dice.com',
  'al\u00adice.com',
  `${letters(64)}.com`,
  `alice.${letters(64)}`,
  `${letters(63)}.${letters(63)}.${letters(63)}.${letters(58)}.org`,
  'alice.'.repeat(2000),
]

const reserved = [
  'alice.alt',
  'alice.arpa',
  'alice.example',
  'alice.internal',
  'alice.invalid',
  'alice.local',
  'alice.localhost',
  'alice.onion',
  'handle.invalid',
  'laptop.local',
  'a.b.c.internal',
  'ALICE.ONION',
  '@alice.Example',
  '1.0.0.127.in-addr.arpa',
]

describe('parseIdentifier, given a handle', () => {
  for (const handle of valid) {
    test(`accepts ${shown(handle)} (HDL-01)`, () => {
      expect(parseIdentifier(handle)).toMatchObject({ handle })
    })
  }

  for (const input of malformed) {
    test(`refuses ${shown(input)} (HDL-01, A09)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })
  }

  for (const input of reserved) {
    test(`refuses ${shown(input)}, whose top-level domain is reserved (HDL-03)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })

    test(`refuses ${shown(input)} in development too (HDL-03)`, () => {
      expect(errorCode(() => parseIdentifier(input, { allowHttp: true }))).toBe('identifier_invalid')
    })
  }

  for (const handle of ['alice.test', 'a.b.test']) {
    test(`accepts ${shown(handle)} in development only (HDL-03)`, () => {
      expect(parseIdentifier(handle, { allowHttp: true })).toMatchObject({ handle })
      expect(errorCode(() => parseIdentifier(handle))).toBe('identifier_invalid')
    })
  }

  for (const input of ['Alice.Example.COM', 'ALICE.EXAMPLE.COM', '@aLiCe.eXaMpLe.CoM']) {
    test(`lower-cases ${shown(input)} (HDL-02, A17)`, () => {
      expect(parseIdentifier(input)).toMatchObject({ handle: 'alice.example.com' })
    })
  }

  for (const input of [
    '@alice.com',
    ' alice.com ',
    '\talice.com\r\n',
    ' @alice.com\u200e',
    '\u200e@alice.com',
    '\u200falice.com\u200f',
    '\ufeffalice.com',
    '\u00a0alice.com\u00a0',
  ]) {
    test(`drops what surrounds the handle in ${shown(input)} (HDL-04, A01)`, () => {
      expect(parseIdentifier(input)).toMatchObject({ handle: 'alice.com' })
    })
  }

  for (const control of [0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067, 0x2068, 0x2069]) {
    const input = `al${String.fromCodePoint(control)}ice.com`
    test(`refuses ${shown(input)}, which is not written as it reads (HDL-01, A03)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })
  }

  test('does not take the Kelvin sign for a k (HDL-01, A04)', () => {
    expect(errorCode(() => parseIdentifier('ban\u212a.example.com'))).toBe('identifier_invalid')
  })

  test('does not convert a name typed in Unicode to another one (HDL-01, A06)', () => {
    expect(errorCode(() => parseIdentifier('\u03c1aypal.example.com'))).toBe('identifier_invalid')
  })

  for (const input of ['alice@example.com', 'alice@test.com', 'mailto:alice@example.com']) {
    test(`refuses the e-mail address ${shown(input)} (REQ-06)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })
  }
})

describe('parseIdentifier, given anything but a string', () => {
  const values: [name: string, value: unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['a number', 42],
    ['a boolean', true],
    ['an object', {}],
    ['an object with toString', { toString: () => 'alice.com' }],
    ['an array', ['alice.com']],
    ['a String object', new String('alice.com')],
  ]
  for (const [name, value] of values) {
    test(`refuses ${name} without converting it (HDL-01, A16)`, () => {
      expect(errorCode(() => parseIdentifier(value))).toBe('identifier_invalid')
    })
  }
})
