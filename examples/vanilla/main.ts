import { type ClientSnapshot, isOAuthError, type Session } from 'atproto-signet'
import { auth, chain, recall, sampleHandle, signIn } from './auth.ts'
import { createPost, listPosts, RequestFailed } from './posts.ts'
import * as view from './view.ts'

const { signInForm, handle, postForm, text, signOut, reconnect } = view.elements

/** The sign-in under way, if any; a second one takes its place. */
let signingIn: AbortController | undefined

/** The list being read; another account, or a newer list, takes its place. */
let listing: AbortController | undefined

let shown: Session | undefined

async function start() {
  view.showSample(sampleHandle)
  view.showChain(chain)
  auth.on('progress', () => view.showChain(chain))
  auth.subscribe(show)

  try {
    // Finishes a sign-in when the person's server has sent the page here, else restores the account in use.
    const session = await auth.initialize()
    if (!session) return
    const returned = recall(session) !== undefined
    view.showChain(chain, returned ? 'signed-in' : 'restored')
    if (returned) view.focusTitle()
  } catch (error) {
    const asked = isOAuthError(error) && recall(error)
    if (asked) handle.value = asked.identifier
    view.showChain(chain, 'failed')
    report(error)
  }
}

function show(snapshot: ClientSnapshot) {
  view.showSnapshot(snapshot, (did) => void switchTo(did))
  if (snapshot.session === shown) return
  shown = snapshot.session
  view.showPosts(undefined)
  if (shown) {
    void refreshPosts(shown)
  } else {
    listing?.abort()
    chain.clear()
    view.showChain(chain)
    view.focusTitle()
  }
}

async function leaveToSignIn(identifier: string) {
  signingIn?.abort()
  signingIn = new AbortController()
  const { signal } = signingIn
  view.clearError()
  try {
    await signIn(identifier, signal)
  } catch (error) {
    if (signal.aborted) return
    view.showChain(chain, 'failed')
    report(error)
  }
}

async function switchTo(did: string) {
  if (await attempt(() => auth.switchAccount(did))) view.focusTitle()
}

async function refreshPosts(session: Session) {
  listing?.abort()
  listing = new AbortController()
  const { signal } = listing
  try {
    const posts = await listPosts(session, signal)
    if (!signal.aborted) view.showPosts(posts)
  } catch (error) {
    if (!signal.aborted) report(error)
  }
}

/** Does what a person asked for; `undefined` when it went wrong, of which they are told. */
async function attempt<T>(action: () => Promise<T>): Promise<T | undefined> {
  view.clearError()
  try {
    return await action()
  } catch (error) {
    report(error)
    return undefined
  }
}

function report(error: unknown) {
  if (isOAuthError(error)) return view.showError(error.userMessage)
  if (error instanceof RequestFailed) return view.showError(error.message)
  console.error(error)
  view.showError('Something went wrong on this page. Reload it and try again.')
}

signInForm.addEventListener('submit', (event) => {
  event.preventDefault()
  void leaveToSignIn(handle.value)
})

// Looking up the server while the person types leaves one request for the click.
let typing: ReturnType<typeof setTimeout> | undefined
handle.addEventListener('input', () => {
  clearTimeout(typing)
  const looksComplete = /^\s*@?[a-z0-9-]+(\.[a-z0-9-]+)+\s*$/i.test(handle.value)
  if (looksComplete) typing = setTimeout(() => void auth.prefetch(handle.value), 300)
})

postForm.addEventListener('submit', async (event) => {
  event.preventDefault()
  const session = auth.session
  const words = text.value.trim()
  if (!session) return
  if (words === '') return view.showError('Write something first.')
  const posted = await attempt(() => createPost(session, words))
  if (!posted) return
  postForm.reset()
  text.focus()
  await refreshPosts(session)
})

signOut.addEventListener('click', () => void attempt(() => auth.signOut()))

reconnect.addEventListener('click', () => {
  const account = auth.session?.account
  if (account) void leaveToSignIn(account.handle ?? account.did)
})

// The back button can bring this page back as it was left, in the middle of a sign-in.
addEventListener('pageshow', (event) => {
  if (!event.persisted) return
  chain.clear()
  view.showChain(chain)
})

void start()
