import { type ContenderName, contenderNames } from './contenders.ts'
import { describeRun } from './report.ts'
import type { Result, Results } from './results.ts'

interface Group {
  label: string
  value(result: Result): number
  text(value: number): string
}

const rounds = (label: string, value: (result: Result) => number): Group => ({ label, value, text: String })

const panels: { title: string; groups: Group[] }[] = [
  {
    title: 'Network rounds: fewer is better',
    groups: [
      rounds('Click to sign-in page', ({ rounds }) => rounds.signIn),
      rounds('Callback to session', ({ rounds }) => rounds.callback),
      rounds('Page load to first answer', ({ rounds }) => rounds.firstAnswer),
      rounds('Page load with an expired token', ({ rounds }) => rounds.expired),
      rounds('Token refresh', ({ rounds }) => rounds.refreshCold),
    ],
  },
  {
    title: 'Client time per request, in bare signatures: less is better',
    groups: [
      {
        label: 'One authorised request',
        value: ({ requests }) => requests.signaturesPerRequest,
        text: (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ×`,
      },
    ],
  },
  {
    title: 'Bytes that a page loads to restore a session: fewer is better',
    groups: [
      {
        label: 'Minified and gzipped',
        value: ({ bytes }) => bytes.restore,
        text: (value) => `${(value / 1000).toFixed(1)} kB`,
      },
    ],
  },
]

const names: Record<ContenderName, string> = {
  signet: 'Signet',
  reference: '@atproto/oauth-client-browser',
  atcute: '@atcute/oauth-browser-client',
}

const WIDTH = 760
const MARGIN = 24
const BARS_LEFT = 240
const BARS_WIDTH = 440
const BAR = 13
const GROUP = 3 * BAR + 14

const style = `
svg { font: 13px system-ui, sans-serif }
.card { fill: #ffffff; stroke: #d8dee4 } .text { fill: #1f2328 } .muted { fill: #59636e; font-size: 12px }
.heading { font-weight: 600 }
.signet { fill: #0969da } .reference { fill: #8c959f } .atcute { fill: #c08a3e }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #3d444d } .text { fill: #f0f6fc } .muted { fill: #9198a1 }
.signet { fill: #4493f8 } .reference { fill: #6e7681 } .atcute { fill: #b98a45 }
}`

/** The chart of the README: a picture that needs no font and no script, for light and dark pages. */
export function drawChart(results: Results): string {
  const parts: string[] = []
  const text = (x: number, y: number, kind: string, content: string) =>
    parts.push(`<text class="${kind}" x="${x}" y="${y}">${encode(content)}</text>`)

  let y = MARGIN + 12
  let x = MARGIN
  for (const name of contenderNames) {
    parts.push(`<rect class="${name}" x="${x}" y="${y - 10}" width="11" height="11" rx="2"/>`)
    const label = `${names[name]} ${results.clients[name].version}`
    text(x + 17, y, 'text', label)
    x += 40 + label.length * 7
  }
  for (const { title, groups } of panels) {
    y += 36
    text(MARGIN, y, 'text heading', title)
    y += 12
    const most = Math.max(...groups.flatMap((group) => everyone(results).map(group.value)))
    for (const group of groups) {
      text(MARGIN, y + 1.5 * BAR + 4, 'text', group.label)
      for (const [index, name] of contenderNames.entries()) {
        const value = group.value(results.clients[name])
        const width = Math.max(2, Math.round((value / most) * BARS_WIDTH))
        const top = y + index * BAR
        parts.push(
          `<rect class="${name}" x="${BARS_LEFT}" y="${top}" width="${width}" height="${BAR - 2}" rx="2"/>`,
        )
        text(BARS_LEFT + width + 6, top + BAR - 3, 'muted', group.text(value))
      }
      y += GROUP
    }
    y -= 14
  }
  y += 32
  text(MARGIN, y, 'muted', describeRun(results))
  const height = y + MARGIN
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-labelledby="title desc">`,
    '<title id="title">Signet beside the other OAuth clients for browsers</title>',
    `<desc id="desc">${encode(describe(results))}</desc>`,
    `<style>${style}\n</style>`,
    `<rect class="card" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>`,
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

const everyone = ({ clients }: Results) => contenderNames.map((name) => clients[name])

/** Everything the bars say. */
function describe(results: Results): string {
  const bars = panels.flatMap(({ title, groups }) =>
    groups.map((group) => {
      const values = contenderNames.map(
        (name) => `${names[name]} ${group.text(group.value(results.clients[name]))}`,
      )
      return `${title}. ${group.label}: ${values.join(', ')}.`
    }),
  )
  return [...bars, describeRun(results)].join(' ')
}

const encode = (text: string) => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`)
