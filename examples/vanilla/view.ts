import type {
  Account,
  ClientSnapshot,
  ProgressEvent,
  ProgressStep,
  Session,
  SessionStatus,
} from 'atproto-signet'
import type { Chain } from './auth.ts'
import type { Post } from './posts.ts'

/** The chain in order. `away` is the person's own part, between leaving this page and coming back. */
const steps: [name: ProgressStep | 'away', label: string][] = [
  ['resolve_handle', 'Find who the handle belongs to'],
  ['resolve_did', 'Read their public identity'],
  ['discover_server', 'Ask which server signs them in'],
  ['push_authorization', 'Announce the sign-in to it'],
  ['redirect', 'Hand over'],
  ['away', 'You sign in on your server’s own page'],
  ['exchange_code', 'Trade the answer for a token'],
  ['verify_subject', 'Check the token is for the right person'],
  ['store_session', 'Keep the session in this browser'],
]

const statusText: Record<SessionStatus, string> = {
  active: 'Active',
  refreshing: 'Renewing the token',
  offline: 'Your server cannot be reached at the moment',
  expired: 'Expired: reconnect to go on',
  revoked: 'Ended by your server: reconnect to go on',
  moved: 'Your account has moved to another server: reconnect to go on',
  rotation_lost: 'The renewed token was lost: reconnect to go on',
}

const usable: SessionStatus[] = ['active', 'refreshing', 'offline']

export const elements = {
  signInForm: byId<HTMLFormElement>('sign-in-form'),
  handle: byId<HTMLInputElement>('handle'),
  postForm: byId<HTMLFormElement>('post-form'),
  text: byId<HTMLTextAreaElement>('text'),
  signOut: byId<HTMLButtonElement>('sign-out'),
  reconnect: byId<HTMLButtonElement>('reconnect'),
}

const alert = byId('alert')

export function showError(message: string) {
  alert.textContent = message
  alert.focus()
}

export function clearError() {
  alert.textContent = ''
}

export function showSample(handle: string) {
  byId('sample').textContent = handle
  elements.handle.placeholder = handle
}

/** Moves focus to the heading of what is shown now, so that a screen reader reads on from there. */
export function focusTitle() {
  byId(document.body.dataset.status === 'signed-in' ? 'profile-title' : 'welcome-title').focus()
}

export function showSnapshot({ status, session, accounts }: ClientSnapshot, onSwitch: (did: string) => void) {
  document.body.dataset.status = status
  document.title = session ? `${nameOf(session.account)} · Signet example` : 'Signet example'
  if (session) showSession(session)
  byId('accounts-section').hidden = accounts.length === 0
  byId('accounts').replaceChildren(...accounts.map((account) => accountItem(account, onSwitch)))
}

function showSession(session: Session) {
  byId('profile-title').textContent = `Signed in as ${nameOf(session.account)}`
  byId('did').textContent = session.did
  byId('server').textContent = session.pds
  byId('scope').replaceChildren(...session.scope.split(' ').map((scope) => create('code', {}, scope)))
  byId('session-status').replaceChildren(
    create('span', { className: 'status', dataset: { status: session.status } }, statusText[session.status]),
  )
  elements.reconnect.hidden = usable.includes(session.status)
  showExpiry(session.expiresAt)
}

let expiryTimer: ReturnType<typeof setInterval> | undefined

function showExpiry(expiresAt: number | undefined) {
  clearInterval(expiryTimer)
  if (expiresAt === undefined) {
    byId('expires').textContent = 'Your server did not say'
    return
  }
  const date = new Date(expiresAt)
  const absolute = date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
  const time = create('time', { dateTime: date.toISOString() }, absolute)
  const relative = create('span', { className: 'hint' })
  const tick = () => {
    relative.textContent = relativeTime(expiresAt - Date.now())
  }
  tick()
  expiryTimer = setInterval(tick, 15_000)
  byId('expires').replaceChildren(time, ' ', relative)
}

function relativeTime(ms: number): string {
  const minutes = Math.round(ms / 60_000)
  const format = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' })
  return Math.abs(minutes) < 120
    ? format.format(minutes, 'minute')
    : format.format(Math.round(minutes / 60), 'hour')
}

function accountItem(account: Account, onSwitch: (did: string) => void): HTMLLIElement {
  const name = nameOf(account)
  const who = create('div', { className: 'who' })
  who.append(
    create('strong', {}, name),
    create('span', { className: 'hint' }, new URL(account.pds).host),
    create('span', { className: 'status', dataset: { status: account.status } }, shortStatus(account.status)),
  )
  const item = create('li', { dataset: { current: String(account.current) } })
  item.append(
    create('span', { className: 'initial', ariaHidden: 'true' }, name.replace('did:', '').charAt(0)),
    who,
  )
  if (account.current) {
    item.append(create('span', { className: 'hint' }, 'In use'))
  } else {
    const button = create('button', { type: 'button', ariaLabel: `Switch to ${name}` }, 'Switch')
    button.addEventListener('click', () => onSwitch(account.did))
    item.append(button)
  }
  return item
}

function shortStatus(status: SessionStatus): string {
  return usable.includes(status) ? status : status.replace('_', ' ')
}

/** `undefined` while they are not known. */
export function showPosts(posts: Post[] | undefined) {
  byId('no-records').hidden = posts?.length !== 0
  byId('records').replaceChildren(
    ...(posts ?? []).map((post) => {
      const created = new Date(post.createdAt)
      const item = create('li', {})
      item.append(
        create('p', {}, post.text),
        create(
          'time',
          { className: 'hint', dateTime: post.createdAt, title: post.uri },
          created.toLocaleString(),
        ),
      )
      return item
    }),
  )
}

type Outcome = 'signed-in' | 'restored' | 'failed'

export function showChain(chain: Chain, outcome?: Outcome) {
  const times = [...chain.values()].map((step) => step.durationMs ?? 0)
  const slowest = Math.max(1, ...times)
  const last = steps.findLastIndex(([name]) => name !== 'away' && chain.has(name))

  byId('steps').replaceChildren(
    ...steps.map(([name, label], index) => {
      const step = name === 'away' ? undefined : chain.get(name)
      const stoppedAway = outcome === 'failed' && name === 'away' && index === last + 1
      const phase = step?.phase ?? (stoppedAway ? 'error' : index < last ? 'end' : 'idle')
      const item = create('li', { dataset: { phase, step: name } })
      if (phase === 'start') item.ariaCurrent = 'step'
      const time = create('span', { className: 'time' }, timeOf(phase, step?.durationMs))
      item.append(create('span', { className: 'label' }, label), time)
      if (phase === 'end' && step?.durationMs !== undefined) {
        const bar = create('span', { className: 'bar', ariaHidden: 'true' })
        bar.style.setProperty('--share', String(step.durationMs / slowest))
        item.append(bar)
      }
      return item
    }),
  )

  const running = steps.find(([name]) => name !== 'away' && chain.get(name)?.phase === 'start')
  const total = Math.round(times.reduce((sum, time) => sum + time, 0))
  if (outcome === 'signed-in') say(`Signed in. All steps together took ${total} ms.`)
  else if (outcome === 'restored') say('Restored from this browser, without asking any server.')
  else if (outcome === 'failed') say('Stopped.')
  else say(running ? `${running[1]}…` : '')
}

function say(words: string) {
  const progress = byId('progress')
  if (progress.textContent !== words) progress.textContent = words
}

function timeOf(phase: ProgressEvent['phase'] | 'idle', durationMs: number | undefined): string {
  if (phase === 'start') return '…'
  if (phase === 'error') return 'stopped'
  if (durationMs === undefined) return ''
  return durationMs < 1 ? '< 1 ms' : `${Math.round(durationMs)} ms`
}

/** A handle is shown only when it was verified; the DID is always true. */
function nameOf(account: Account): string {
  return account.handle ?? account.did
}

function byId<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E
}

type Properties<E> = Partial<Omit<E, 'dataset' | 'style'>> & { dataset?: Record<string, string> }

function create<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  { dataset, ...properties }: Properties<HTMLElementTagNameMap[K]>,
  text?: string,
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  Object.assign(element, properties)
  Object.assign(element.dataset, dataset)
  if (text !== undefined) element.textContent = text
  return element
}
