// What the driver may change under a client, whichever it is. Put in place before the client is created.
const { now } = Date
const network = window.fetch

export const environment = {
  /** Milliseconds by which the device's clock is wrong. */
  clockOffset: Number(new URLSearchParams(location.search).get('clock')),
  /** Answers every request at once, so that nothing but the client's own time passes. */
  answer: undefined as Response | undefined,
}

Date.now = () => now.call(Date) + environment.clockOffset
window.fetch = (...args) =>
  environment.answer ? Promise.resolve(environment.answer) : network.apply(window, args)
