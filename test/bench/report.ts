import { contenderNames, contenders } from './contenders.ts'
import { type Results, type Row, rows } from './results.ts'

const titles = (results: Results) =>
  contenders.map(({ name, package: packageName }) => ({
    short: name === 'signet' ? 'Signet' : name,
    long: `${packageName} ${results.clients[name].version}`,
  }))

const cells = ({ cell }: Row, { clients }: Results) => contenderNames.map((name) => cell(clients[name]))

/** What the run was made with, in a sentence. */
export const describeRun = ({ date, browser, pds }: Results): string =>
  `Taken on ${date} in ${browser} against @atproto/pds ${pds} on loopback.`

/** For a terminal. */
export function formatText(results: Results): string {
  const head = ['', ...titles(results).map(({ short }) => short)]
  const lines = [head, ...rows(results).map((row) => [row.label, ...cells(row, results)])]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  const table = lines.map((line) =>
    line
      .map((text, column) => (column ? text.padStart(widths[column] ?? 0) : text.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
  const names = titles(results).map(({ short, long }) => `${short}: ${long}`)
  return [...table, '', ...names, describeRun(results), ''].join('\n')
}

/** For the file that the README links to. */
export function formatMarkdown(results: Results): string {
  const row = (texts: string[]) => `| ${texts.join(' | ')} |`
  return [
    '# Signet beside the other clients',
    '',
    `Written by \`npm run bench\`. ${describeRun(results)} All three clients did the same work in the same browser.`,
    '',
    row(['', ...titles(results).map(({ short, long }) => `${short}<br>${long}`)]),
    row(['---', ...titles(results).map(() => '---:')]),
    ...rows(results).map((each) => row([each.label, ...cells(each, results)])),
    '',
    '- A round is a network round trip that had to wait for the one before it, CORS preflights included, counted at the',
    '  servers.',
    '- Times are ratios: one request is timed beside one bare ECDSA P-256 signature, which every request needs, with a',
    '  `fetch` that answers at once. So they hold on other machines too, roughly.',
    '- Nonces and metadata are what clients keep for some minutes only; here it was emptied instead of waited for.',
    '- In mid-refresh: the server has replaced the tokens, and the page is reloaded before the answer arrives. The guard',
    '  is `atproto-signet/service-worker/standalone.js`, registered by the page.',
    '- Bytes are minified and gzipped, dependencies included. Those of @atcute/oauth-browser-client contain',
    '  @atcute/identity-resolver, which it needs to sign in.',
    '',
  ].join('\n')
}
