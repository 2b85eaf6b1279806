import { describe, expect, test } from 'vitest'
import { parseIdentifier } from '../../src/identity/identifier.ts'
import { errorCode, shown } from './refusal.ts'

const plc = 'did:plc:z72i7hdynmk6r22z27h6tvur'

describe('parseIdentifier, given a did:plc', () => {
  for (const did of [
    plc,
    'did:plc:ewvi7nxzyoun6zhxrhs64oiz',
    'did:plc:ragtjsm2j2vknwkz3zp4oxrd',
    `did:plc:${'a'.repeat(24)}`,
    `did:plc:${'7'.repeat(24)}`,
    'did:plc:abcdefghijklmnopqrstuvwx',
    'did:plc:yz234567yz234567yz234567',
  ]) {
    test(`accepts ${shown(did)} (DID-02, DID-03)`, () => {
      expect(parseIdentifier(did)).toMatchObject({ did })
    })
  }

  for (const input of [
    'did:plc:',
    'did:plc:a',
    plc.slice(0, -1),
    `${plc}a`,
    `${plc}${plc.slice(8)}`,
    plc.replace('z72', 'Z72'),
    plc.replace('z72', '072'),
    plc.replace('z72', '172'),
    plc.replace('z72', '872'),
    plc.replace('z72', '972'),
    plc.replace('z72', 'z-2'),
    plc.replace('z72', 'z_2'),
    plc.replace('z72', 'z.2'),
    plc.replace('z72', 'z:2'),
    plc.replace('z72', '%61'),
  ]) {
    test(`refuses ${shown(input)} (DID-03, A13)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })
  }
})

describe('parseIdentifier, given a did:web', () => {
  for (const did of [
    'did:web:alice.com',
    'did:web:pds.alice.com',
    'did:web:a.b.c.d.org',
    'did:web:my-host.co.uk',
    'did:web:4chan.org',
    'did:web:xn--bcher-kva.com',
    'did:web:localhost.com',
    'did:web:test.org',
  ]) {
    test(`accepts ${shown(did)} (DID-02, DID-05)`, () => {
      expect(parseIdentifier(did)).toMatchObject({ did })
    })
  }

  for (const input of [
    'did:web:alice.com:path',
    'did:web:alice.com:users:bob',
    'did:web:alice.com%3A443',
    'did:web:alice.com%3A8080',
    'did:web:alice.com%3a8080',
    'did:web:alice.com%2Fpath',
    'did:web:bob%40alice.com',
    'did:web:alice.com%3Fx',
    'did:web:alice..com',
    'did:web:127.0.0.1',
    'did:web:alice.alt',
    'did:web:alice.arpa',
    'did:web:alice.example',
    'did:web:alice.internal',
    'did:web:alice.invalid',
    'did:web:alice.local',
    'did:web:alice.localhost',
    'did:web:alice.onion',
    'did:web:alice.test',
    'did:web:localhost',
  ]) {
    test(`refuses ${shown(input)}, which names no public host alone (DID-05)`, () => {
      expect(['identifier_invalid', 'did_unsupported']).toContain(errorCode(() => parseIdentifier(input)))
    })
  }

  for (const did of ['did:web:localhost%3A2583', 'did:web:localhost']) {
    test(`accepts ${shown(did)} in development only (DID-05, DID-06)`, () => {
      expect(parseIdentifier(did, { allowHttp: true })).toMatchObject({ did })
      expect(['identifier_invalid', 'did_unsupported']).toContain(errorCode(() => parseIdentifier(did)))
    })
  }
})

describe('parseIdentifier, given a DID', () => {
  for (const input of [
    'did:',
    'did::',
    'did:plc',
    'did:web',
    'did:web:',
    'did::alice.com',
    'did:web::alice.com',
    'did:web:alice.com:',
    'did:web:alice.com%',
    'did:web:alice.com%2',
    'did:web:alice.com%zz',
    'did:web:alice com',
    'did:web:alice.com/path',
    'did:web:alice.com?service=a',
    'did:web:alice.com#atproto_pds',
    'did:web:bob@alice.com',
    'did:web:älice.com',
    `did:web:${'a.'.repeat(1030)}com`,
    'did plc:z72i7hdynmk6r22z27h6tvur',
    plc.replace('did', 'DID'),
    plc.replace('did', 'Did'),
    plc.replace('plc', 'PLC'),
    `${plc}?service=a`,
    `${plc}#atproto`,
    `${plc}/path`,
    `${plc}:`,
    `${plc}%`,
  ]) {
    test(`refuses the malformed ${shown(input)} (DID-02, A13)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('identifier_invalid')
    })
  }

  for (const input of [
    'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
    'did:ethr:0xb9c5714089478a327f09197987f16f9e5d936e8a',
    'did:pkh:eip155:1:0xb9c5714089478a327f09197987f16f9e5d936e8a',
    'did:webvh:QmaJp4pmb8RUk4oaDyWQcjeqYbvxsc3kXrBTzXLYDbcSfN:alice.com',
    'did:method:val:two',
  ]) {
    test(`tells that the method of ${shown(input)} is not supported (A13)`, () => {
      expect(errorCode(() => parseIdentifier(input))).toBe('did_unsupported')
    })
  }
})

describe('parseIdentifier, given a server', () => {
  for (const [input, server] of [
    ['https://pds.alice.com', 'https://pds.alice.com'],
    ['https://pds.alice.com/', 'https://pds.alice.com'],
    ['https://PDS.Alice.com', 'https://pds.alice.com'],
    ['https://pds.alice.com:443', 'https://pds.alice.com'],
    ['https://pds.alice.com:8443', 'https://pds.alice.com:8443'],
    [' https://pds.alice.com ', 'https://pds.alice.com'],
  ] as const) {
    test(`takes ${shown(input)} for a server (DID-14)`, () => {
      expect(parseIdentifier(input)).toMatchObject({ server })
    })
  }

  for (const input of [
    'https://',
    'https://pds alice.com',
    'https://bob@pds.alice.com',
    'https://bob:secret@pds.alice.com',
    'ftp://pds.alice.com',
    'wss://pds.alice.com',
    'file:///etc/hosts',
    'javascript:alert(1)',
    'data:text/html,x',
  ]) {
    test(`refuses ${shown(input)}, which is no server (DID-14)`, () => {
      expect(errorCode(() => parseIdentifier(input, { allowHttp: true }))).toBe('identifier_invalid')
    })
  }

  for (const server of ['http://localhost:2583', 'http://127.0.0.1:2583']) {
    test(`takes ${shown(server)} for a server in development only (DID-14)`, () => {
      expect(parseIdentifier(server, { allowHttp: true })).toMatchObject({ server })
      expect(errorCode(() => parseIdentifier(server))).toBe('identifier_invalid')
    })
  }
})
