import { parseArgs } from 'node:util'
import { startNetwork } from './start.ts'

const { json, options } = parseArgs({
  options: { json: { type: 'boolean', default: false }, options: { type: 'string', default: '{}' } },
}).values

// The PDS complains here about a machine too slow to hide from an attacker how long a password check takes.
console.warn = () => {}

const ended = new Promise<void>((resolve) => {
  for (const event of ['SIGINT', 'SIGTERM', 'disconnect']) process.once(event, () => resolve())
})
const network = await startNetwork(JSON.parse(options))
const { origins, accounts, control } = network

if (process.connected) {
  process.send?.(control)
} else if (json) {
  console.log(JSON.stringify({ origins, accounts, control }))
} else {
  for (const [party, origin] of Object.entries(origins)) console.log(`${party.padEnd(10)} ${origin}`)
  for (const { handle, password, did, pds } of accounts) console.log(handle.padEnd(10), password, did, pds)
}
await ended
if (process.connected) process.disconnect()
await network.stop()
// Nothing should be left that keeps this process alive. If there is, that is a failure, but no reason to stay.
setTimeout(() => process.exit(1), 5_000).unref()
