import { mkdir, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters } from 'node:util'
import { chromium, type Page } from 'playwright'
import { findEngine } from '../test/engines/find.ts'
import { launchOptions } from '../test/engines/playwright.ts'
import { countRounds, type LogEntry } from '../test/network/log.ts'
import type { Network } from '../test/network/network.ts'
import { answerSignIn, type SignInAnswers } from '../test/network/sign-in-page.ts'

export interface WalkOptions {
  /** Where the example app is served. */
  origin: string
  network: Network
  signal: AbortSignal
}

/** Added to every request: requests sent together must overlap to count as one round. */
const latencyMs = 30

const screenshots = fileURLToPath(new URL('../test/.results/walk/', import.meta.url))

/** Does with the example app what a person would, prints each step, and throws at the first one that fails. */
export async function walk({ origin, network, signal }: WalkOptions): Promise<void> {
  signal.throwIfAborted()
  const engine = findEngine('chromium')
  if (!engine) throw new Error('Chromium is not installed: npx playwright install chromium')
  await rm(screenshots, { recursive: true, force: true })
  await mkdir(screenshots, { recursive: true })
  await network.setLatency(latencyMs)

  const browser = await chromium.launch({
    ...launchOptions(engine),
    handleSIGINT: false,
    handleSIGTERM: false,
    handleSIGHUP: false,
  })
  signal.addEventListener('abort', () => void browser.close())
  try {
    const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, colorScheme: 'light' })
    page.setDefaultTimeout(30_000)
    await walkThrough(page, origin, network)
    console.log(`\n  Every step did what it should. Screenshots: ${screenshots}`)
  } finally {
    await browser.close()
  }
}

async function walkThrough(page: Page, origin: string, network: Network): Promise<void> {
  const button = (name: string) => page.getByRole('button', { name, exact: true })
  const field = (label: string) => page.getByLabel(label, { exact: true })
  const title = (handle: string) => page.getByRole('heading', { name: `Signed in as ${handle}`, exact: true })
  const record = (text: string) => page.getByRole('listitem').filter({ hasText: text })
  const answer = (answers: SignInAnswers) =>
    answerSignIn(
      {
        waitUrl: (url) => page.waitForURL(url),
        eval: (run, argument) => page.evaluate(run as never, argument),
      },
      answers,
    )
  const atServer = () => page.waitForURL((url) => url.origin !== origin, { waitUntil: 'commit' })
  const shot = (name: string) => page.screenshot({ path: `${screenshots}${name}.png`, fullPage: true })
  const passwordOf = (handle: string) =>
    network.accounts.find((account) => account.handle === handle)?.password ?? ''
  const words = `Hello from ${new Date().toISOString()}`

  console.log(`\n  ${'Step'.padEnd(44)}${'Time'.padStart(8)}   Rounds, and the requests of the app\n`)

  /** One thing a person does, and how they can tell that it worked. */
  async function step(name: string, act: () => Promise<unknown>): Promise<void> {
    await network.log.clear()
    const start = performance.now()
    try {
      await act()
    } catch (error) {
      const told = await page
        .getByRole('alert')
        .textContent({ timeout: 1_000 })
        .catch(() => '')
      await shot('failure').catch(() => {})
      const reason = error instanceof Error ? error.message : String(error)
      throw new Error(
        [
          `"${name}" failed.`,
          ...(told ? [`The page says: ${told}`] : []),
          `It was at ${page.url().replace(/[?#].*/, '')}; see ${screenshots}failure.png`,
          stripVTControlCharacters(reason).trim(),
        ].join('\n'),
      )
    }
    const time = `${Math.round(performance.now() - start)} ms`
    const entries = await network.log.entries({ from: origin, preflight: 'any' })
    const records = entries.filter(({ path }) => path.startsWith('/xrpc/com.atproto.repo.'))
    const others = entries.filter((entry) => !records.includes(entry))
    if (others.length > 0 || records.length === 0) print(name, time, others)
    if (records.length > 0)
      print(others.length > 0 ? '  and its records' : name, others.length > 0 ? '' : time, records)
  }

  await step('Open the page, by the name localhost', async () => {
    await page.goto(origin.replace('127.0.0.1', 'localhost'))
    await page.waitForURL(`${origin}/`)
    await field('Handle').waitFor()
  })
  await shot('1-signed-out')

  await step('Enter alice.test and press "Sign in"', async () => {
    await field('Handle').fill('alice.test')
    await button('Sign in').click()
    await atServer()
  })
  await step('Give the password there and come back', async () => {
    await answer({ password: passwordOf('alice.test') })
    await title('alice.test').waitFor()
    await page.getByText('Nothing here yet.').waitFor()
  })
  await shot('2-signed-in')

  await step('Post', async () => {
    await field('Text').fill(words)
    await button('Post').click()
    await record(words).waitFor()
  })
  await shot('3-posted')

  await step('Reload: still signed in', async () => {
    await page.reload()
    await title('alice.test').waitFor()
    await record(words).waitFor()
  })

  await step('Type bob.test, and wait', async () => {
    await field('Handle').pressSequentially('bob.test', { delay: 20 })
    await network.log.waitFor({ from: origin, path: '/.well-known/oauth-*' }, { count: 2 })
  })
  await step('Press "Sign in"', async () => {
    await button('Sign in').click()
    await atServer()
  })
  await step('Give the password there and come back', async () => {
    await answer({ password: passwordOf('bob.test') })
    await title('bob.test').waitFor()
    await page.getByText('Nothing here yet.').waitFor()
  })

  await step('Switch to alice.test', async () => {
    await button('Switch to alice.test').click()
    await title('alice.test').waitFor()
    await record(words).waitFor()
  })
  await shot('4-two-accounts')
  await page.emulateMedia({ colorScheme: 'dark' })
  await shot('5-dark')
  await page.setViewportSize({ width: 390, height: 844 })
  await shot('6-dark-phone')
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize({ width: 1280, height: 900 })

  await step('Enter carol.test, then refuse at the server', async () => {
    await field('Handle').fill('carol.test')
    await button('Sign in').click()
    await atServer()
    await answer({ password: passwordOf('carol.test'), decision: 'Deny access' })
    await page.waitForURL(`${origin}/**`)
    await page.getByRole('alert').filter({ hasText: /\w/ }).waitFor()
    await title('alice.test').waitFor()
    await record(words).waitFor()
  })
  await shot('7-refused')

  await step('Sign out', async () => {
    await button('Sign out').click()
    await title('alice.test').waitFor({ state: 'hidden' })
    await network.log.waitFor({ from: origin, path: '/oauth/revoke' })
  })
  await shot('8-signed-out')

  await step('Enter a handle nobody has', async () => {
    await field('Handle').fill('nobody.test')
    await button('Sign in').click()
    await page.getByRole('alert').filter({ hasText: /\w/ }).waitFor()
  })
  await shot('9-error')
}

function print(step: string, time: string, entries: LogEntry[]): void {
  const requests = entries.map(({ method, path }) => {
    const name = path.split(/[/.]/).at(-1) ?? ''
    return `${method === 'OPTIONS' ? 'preflight' : method} ${name.startsWith('did:') ? 'DID document' : name}`
  })
  console.log(`  ${step.padEnd(44)}${time.padStart(8)}   ${countRounds(entries)}  ${requests.join(', ')}`)
}
