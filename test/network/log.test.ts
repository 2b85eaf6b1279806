import { describe, expect, test } from 'vitest'
import { countRounds, type LogEntry, type Match, matches } from './log.ts'

const entry = (fields: Partial<LogEntry>): LogEntry => ({
  id: 1,
  party: 'pds1',
  origin: 'http://localhost:1',
  method: 'POST',
  path: '/oauth/token',
  query: [],
  preflight: false,
  dpop: true,
  start: 0,
  ...fields,
})

describe('rounds', () => {
  const rounds = (...spans: [start: number, end?: number][]) =>
    countRounds(spans.map(([start, end]) => entry({ start, ...(end !== undefined && { end }) })))

  test('there are none without requests', () => {
    expect(rounds()).toBe(0)
  })
  test('requests one after the other each take one', () => {
    expect(rounds([0, 10], [11, 20], [25, 30])).toBe(3)
  })
  test('requests that overlap share one, however long each takes', () => {
    expect(rounds([0, 10], [5, 100], [9, 12])).toBe(1)
  })
  test('a request that waited for the shorter of two takes another one', () => {
    expect(rounds([0, 10], [1, 100], [11, 20])).toBe(2)
  })
  test('two parallel chains count as the longer one', () => {
    expect(rounds([0, 10], [11, 20], [21, 30], [1, 14], [15, 29])).toBe(3)
  })
  test('a request that begins as another ends did not wait for it', () => {
    expect(rounds([0, 10], [10, 20])).toBe(1)
  })
  test('nothing waited for a request that is still open', () => {
    expect(rounds([0], [50, 60], [61, 70])).toBe(2)
  })
  test('the order of the log does not matter', () => {
    expect(rounds([25, 30], [0, 10], [11, 20])).toBe(3)
  })
})

describe('a match', () => {
  test.each<[string, Match, Partial<LogEntry>]>([
    ['without conditions takes any request', {}, {}],
    ['takes the party', { party: 'pds1' }, {}],
    ['takes the method', { method: 'POST' }, {}],
    ['takes the whole path', { path: '/oauth/token' }, {}],
    ['takes the beginning of a path', { path: '/oauth/*' }, {}],
    ['takes the grant type', { grantType: 'refresh_token' }, { grantType: 'refresh_token' }],
    ['takes the origin of the client', { from: 'http://127.0.0.1:1' }, { from: 'http://127.0.0.1:1' }],
    ['takes preflights on request', { preflight: true }, { preflight: true }],
    ['takes requests and preflights on request', { preflight: 'any' }, { preflight: true }],
    ['takes requests and preflights on request', { preflight: 'any' }, {}],
  ])('%s', (_, match, fields) => {
    expect(matches(entry(fields), match)).toBe(true)
  })
  test.each<[string, Match, Partial<LogEntry>]>([
    ['leaves preflights alone', {}, { preflight: true }],
    ['leaves requests alone if it wants preflights', { preflight: true }, {}],
    ['leaves other parties alone', { party: 'pds2' }, {}],
    ['leaves other methods alone', { method: 'GET' }, {}],
    ['leaves longer paths alone', { path: '/oauth' }, {}],
    ['leaves paths with another beginning alone', { path: '/xrpc/*' }, {}],
    ['leaves other grants alone', { grantType: 'refresh_token' }, { grantType: 'authorization_code' }],
    ['leaves clients without an origin alone', { from: 'http://127.0.0.1:1' }, {}],
  ])('%s', (_, match, fields) => {
    expect(matches(entry(fields), match)).toBe(false)
  })
})
