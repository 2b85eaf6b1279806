import { describe, expect, test } from 'vitest'
import { ALICE, at, faults } from '../support/network.ts'
import { signedIn } from './signed-in.ts'
import { COLLECTION, xrpcClients } from './xrpc-clients.ts'

const CID = 'bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a'
const BLOB_CID = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'
const method = (nsid: string) => ({ ...at.resource, path: `/xrpc/${nsid}` })

describe.each(xrpcClients)('%s, given the session as it is,', (_name, open) => {
  test('makes a query (RS-01)', async () => {
    const { network, session } = await signedIn()
    expect(await open(session).getHandle()).toBe(ALICE.handle)
    network.assertClean()
  })

  test('calls a procedure with a JSON body', async () => {
    const { network, session } = await signedIn()
    const uri = `at://${ALICE.did}/${COLLECTION}/3jzfcijpj2z2a`
    const createRecord = method('com.atproto.repo.createRecord')
    network.on(
      createRecord,
      faults.changeJson(() => ({ uri, cid: CID })),
    )
    expect(await open(session).createPost('hello')).toBe(uri)
    const [request] = network.requests({ ...createRecord, where: ({ response }) => response?.status === 200 })
    expect(request?.method).toBe('POST')
    expect(request?.headers.get('content-type')).toBe('application/json')
    expect(JSON.parse(request?.text ?? '')).toMatchObject({
      repo: ALICE.did,
      collection: COLLECTION,
      record: { $type: COLLECTION, text: 'hello' },
    })
    network.assertClean()
  })

  test('uploads bytes, also when they have to be sent twice (DPOP-18)', async () => {
    const { network, session } = await signedIn()
    const bytes = crypto.getRandomValues(new Uint8Array(4096))
    const uploadBlob = method('com.atproto.repo.uploadBlob')
    const mimeType = 'image/png'
    network.on(
      uploadBlob,
      faults.changeJson(() => ({
        blob: { $type: 'blob', ref: { $link: BLOB_CID }, mimeType, size: bytes.length },
      })),
    )
    expect(await open(session).uploadBlob(bytes, mimeType)).toEqual({ mimeType, size: bytes.length })
    const requests = network.requests(uploadBlob)
    expect(requests.map(({ response }) => response?.status)).toEqual([401, 200])
    for (const request of requests) {
      expect(request.headers.get('content-type')).toBe(mimeType)
      expect(request.bytes).toEqual(bytes)
    }
    network.assertClean()
  })

  test('fails with the error of the library when the server refuses (RS-06)', async () => {
    const { network, session } = await signedIn()
    network.pds.requiredScopes.set('com.atproto.server.getSession', 'transition:email')
    await expect(open(session).getHandle()).rejects.toMatchObject({ error: 'ScopeMissingError', status: 403 })
    expect(network.count(at.refresh)).toBe(0)
    network.assertClean()
  })
})
