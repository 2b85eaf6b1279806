/** What a parser may work on one text, milliseconds: what is quadratic takes several times as long. */
export const WORK_MS = 1_000

/** Time this process works on something, milliseconds, whatever else the machine does meanwhile. */
export async function cpuTime(work: () => unknown): Promise<number> {
  const before = process.cpuUsage()
  await work()
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1_000
}
