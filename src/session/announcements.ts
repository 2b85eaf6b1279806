import type { OAuthErrorCode } from '../errors.ts'

const VERSION = 1

/** What tabs of one origin tell each other: that something changed, never what it changed to. */
export type Announcement =
  | { type: 'session'; did: string }
  | { type: 'authorized'; state: string; did: string }
  | { type: 'refused'; state: string; code: OAuthErrorCode; facts: object }

export interface Announcements {
  send(announcement: Announcement): void
  close(): void
}

/** Opens the channel of a namespace. Messages of another version or shape are ignored; the worst a forged one does is a re-read. */
export function openAnnouncements(
  name: string,
  listener: (announcement: Announcement) => void,
): Announcements {
  if (typeof BroadcastChannel === 'undefined') return { send() {}, close() {} }
  const channel = new BroadcastChannel(name)
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const { version, ...announcement } = Object(data) as { version?: unknown } & Announcement
    const subject = announcement.type === 'session' ? announcement.did : announcement.state
    if (version === VERSION && typeof subject === 'string') listener(announcement)
  }
  // Node: an open channel must not keep the process alive.
  ;(channel as { unref?: () => void }).unref?.()
  let closed = false
  return {
    send(announcement) {
      // What was under way when the client was closed has still happened.
      const sender = closed ? new BroadcastChannel(name) : channel
      sender.postMessage({ version: VERSION, ...announcement })
      if (closed) sender.close()
    },
    close() {
      closed = true
      channel.close()
    },
  }
}
