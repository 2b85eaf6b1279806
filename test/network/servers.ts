import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { PDS } from '@atproto/pds'
import type { Target } from './exchange.ts'
import type { Party } from './log.ts'
import { listen } from './loopback.ts'
import { signInOverHttp } from './sign-in-http.ts'
import type { SignInAnswers } from './sign-in-page.ts'
import type { Traffic } from './traffic.ts'

export interface Account {
  handle: string
  email: string
  password: string
  did: string
  /** Which PDS has the account, and its origin. */
  pdsIndex: 0 | 1
  pds: string
}

export interface ListedRecord {
  uri: string
  cid: string
  value: Record<string, unknown>
}

export interface Servers {
  origins: Record<Party, string>
  accounts: Account[]
  createAccount(handle: string, pdsIndex: 0 | 1): Promise<Account>
  listRecords(did: string, collection: string): Promise<ListedRecord[]>
  moveAccount(did: string): Promise<Account>
  setTokenLifetime(seconds: number): void
  authorize(url: string, answers: SignInAnswers): Promise<string>
}

interface Host {
  origin: string
  pds: PDS
  call<T>(nsid: string, request?: XrpcRequest): Promise<T>
}

interface XrpcRequest {
  query?: Record<string, string>
  body?: Record<string, unknown> | Uint8Array<ArrayBuffer>
  token?: string
  post?: boolean
}

/**
 * Starts a PLC directory and two PDSes. Clients reach them through `traffic`; what they ask each other, and what the
 * functions returned here ask them, goes past it: the log holds only what clients sent, and faults hit only clients.
 * `cleanup` is told what ends each part, to be run in the reverse order.
 */
export async function startServers(
  traffic: Traffic,
  ports: Partial<Record<Party, number>>,
  cleanup: (end: () => unknown) => void,
): Promise<Servers> {
  const folder = await mkdtemp(join(tmpdir(), 'atproto-network-'))
  cleanup(() => rm(folder, { recursive: true, force: true }))

  const open = async (party: Party): Promise<Target> => {
    const target: Target = { party, origin: '', port: 0, siblings: [] }
    const front = await listen(traffic.listener(target), ports[party])
    cleanup(front.close)
    traffic.closeIdle.push(front.closeIdle)
    target.origin = `http://localhost:${front.port}`
    return target
  }
  const targets = { plc: await open('plc'), pds1: await open('pds1'), pds2: await open('pds2') }

  // Read when they are imported.
  process.env.LOG_ENABLED = 'false'
  const [{ Database, PlcServer }, { PDS }] = await Promise.all([
    import('@did-plc/server'),
    import('@atproto/pds'),
  ])

  const plc = PlcServer.create({ db: Database.mock() })
  cleanup(() => plc.destroy())
  const plcServer = await listen(plc.app)
  cleanup(plcServer.close)
  targets.plc.port = plcServer.port

  const rotationKey = randomBytes(32).toString('hex')
  const startPds = async (target: Target): Promise<Host> => {
    const data = join(folder, target.party)
    await mkdir(data)
    const pds = await PDS.fromEnv({
      devMode: true,
      port: Number(new URL(target.origin).port),
      hostname: 'localhost',
      dataDirectory: data,
      blobstoreDiskLocation: join(data, 'blobs'),
      didPlcUrl: `http://localhost:${plcServer.port}`,
      adminPassword: randomBytes(16).toString('hex'),
      jwtSecret: randomBytes(16).toString('hex'),
      dpopSecret: randomBytes(32).toString('hex'),
      plcRotationKeyK256PrivateKeyHex: rotationKey,
      serviceHandleDomains: ['.test'],
      inviteRequired: false,
      disableSsrfProtection: true,
      rateLimitsEnabled: false,
      bskyAppViewUrl: 'https://appview.invalid',
      bskyAppViewDid: 'did:example:invalid',
      modServiceUrl: 'https://moderation.invalid',
      modServiceDid: 'did:example:invalid',
    })
    cleanup(() => pds.destroy())
    await pds.ctx.sequencer.start()
    const server = await listen(pds.app)
    cleanup(server.close)
    target.port = server.port
    return { origin: target.origin, pds, call: (nsid, request) => call(server.port, nsid, request) }
  }
  const hosts = [await startPds(targets.pds1), await startPds(targets.pds2)] as const
  targets.pds1.siblings.push(targets.pds2.port)
  targets.pds2.siblings.push(targets.pds1.port)

  const known = new Map<string, Account>()
  const account = (did: string) => {
    const found = known.get(did)
    if (!found) throw new Error(`${did} was not made by createAccount`)
    return found
  }

  async function createAccount(handle: string, pdsIndex: 0 | 1): Promise<Account> {
    const name = handle.split('.')[0] as string
    const login = { handle, email: `${name}@example.com`, password: `${name}-password` }
    const { did } = await hosts[pdsIndex].call<{ did: string }>('com.atproto.server.createAccount', {
      body: login,
    })
    const created = { ...login, did, pdsIndex, pds: hosts[pdsIndex].origin }
    known.set(did, created)
    return created
  }

  async function listRecords(did: string, collection: string): Promise<ListedRecord[]> {
    const query = { repo: did, collection, limit: '100' }
    const host = hosts[account(did).pdsIndex]
    const { records } = await host.call<{ records: ListedRecord[] }>('com.atproto.repo.listRecords', {
      query,
    })
    return records
  }

  async function moveAccount(did: string): Promise<Account> {
    const { handle, email, password, pdsIndex } = account(did)
    const to = pdsIndex === 0 ? 1 : 0
    const [from, target] = [hosts[pdsIndex], hosts[to]]
    const { accessJwt } = await from.call<{ accessJwt: string }>('com.atproto.server.createSession', {
      body: { identifier: did, password },
    })
    const { token: serviceToken } = await from.call<{ token: string }>('com.atproto.server.getServiceAuth', {
      query: { aud: target.pds.ctx.cfg.service.did, lxm: 'com.atproto.server.createAccount' },
      token: accessJwt,
    })
    const { accessJwt: token } = await target.call<{ accessJwt: string }>(
      'com.atproto.server.createAccount',
      {
        body: { handle, email, password, did },
        token: serviceToken,
      },
    )
    const repo = await from.call<Uint8Array<ArrayBuffer>>('com.atproto.sync.getRepo', { query: { did } })
    await target.call('com.atproto.repo.importRepo', { body: repo, token })
    const credentials = await target.call<object>('com.atproto.identity.getRecommendedDidCredentials', {
      token,
    })
    const { plcClient, plcRotationKey } = target.pds.ctx
    await plcClient.updateData(did, plcRotationKey, (last) => ({ ...last, ...credentials }))
    await target.call('com.atproto.server.activateAccount', { post: true, token })
    await from.call('com.atproto.server.deactivateAccount', { body: {}, token: accessJwt })
    const moved: Account = { ...account(did), pdsIndex: to, pds: target.origin }
    known.set(did, moved)
    return moved
  }

  function setTokenLifetime(seconds: number): void {
    for (const { pds } of hosts) {
      Object.assign(pds.ctx.oauthProvider?.tokenManager ?? {}, { tokenMaxAge: seconds * 1000 })
    }
  }

  async function authorize(url: string, answers: SignInAnswers): Promise<string> {
    const target = [targets.pds1, targets.pds2].find(({ origin }) => url.startsWith(`${origin}/`))
    if (!target) throw new Error(`No PDS here has the authorization page ${url}`)
    return signInOverHttp(target.port, url, answers)
  }

  return {
    origins: { plc: targets.plc.origin, pds1: targets.pds1.origin, pds2: targets.pds2.origin },
    accounts: await Promise.all([
      createAccount('alice.test', 0),
      createAccount('bob.test', 0),
      createAccount('carol.test', 1),
    ]),
    createAccount,
    listRecords,
    moveAccount,
    setTokenLifetime,
    authorize,
  }
}

async function call<T>(
  port: number,
  nsid: string,
  { query, body, token, post }: XrpcRequest = {},
): Promise<T> {
  const car = body instanceof Uint8Array
  const response = await fetch(`http://127.0.0.1:${port}/xrpc/${nsid}?${new URLSearchParams(query)}`, {
    method: body || post ? 'POST' : 'GET',
    headers: {
      ...(body && { 'content-type': car ? 'application/vnd.ipld.car' : 'application/json' }),
      ...(token && { authorization: `Bearer ${token}` }),
    },
    ...(body && { body: car ? body : JSON.stringify(body) }),
  })
  if (!response.ok) throw new Error(`${nsid}: ${response.status} ${await response.text()}`)
  const bytes = await response.bytes()
  const json = response.headers.get('content-type')?.includes('json')
  return (json ? JSON.parse(new TextDecoder().decode(bytes)) : bytes) as T
}
