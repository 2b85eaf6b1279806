import { expect, test } from 'vitest'

function open(name: string): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore('keys')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

test('stores a key that cannot be exported, reads it back and signs with it', async () => {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const made = await crypto.subtle.generateKey(algorithm, false, ['sign', 'verify'])
  const database = await open('engine-test')
  const writing = database.transaction('keys', 'readwrite', { durability: 'strict' })
  writing.objectStore('keys').put(made, 'key')
  await new Promise((done) => writing.addEventListener('complete', done))
  const reading = database.transaction('keys').objectStore('keys').get('key')
  await new Promise((done) => reading.addEventListener('success', done))
  const stored: CryptoKeyPair = reading.result
  database.close()
  const data = new TextEncoder().encode('data')
  const signature = await crypto.subtle.sign(algorithm, stored.privateKey, data)
  expect(await crypto.subtle.verify(algorithm, made.publicKey, signature, data)).toBe(true)
  await expect(crypto.subtle.exportKey('jwk', stored.privateKey)).rejects.toThrow()
})

test('opens a window, which shares locks and goes away again', async () => {
  const child = window.open('/test/browser/blank.html')
  await expect
    .poll(() => child?.document.readyState === 'complete' && child.location.pathname)
    .toContain('blank')
  await new Promise<void>((taken) => {
    void child?.navigator.locks.request('engine-test', () => {
      taken()
      return new Promise(() => {})
    })
  })
  expect(await navigator.locks.request('engine-test', { ifAvailable: true }, (lock) => lock)).toBe(null)
  child?.close()
  expect(await navigator.locks.request('engine-test', () => 'free')).toBe('free')
})
