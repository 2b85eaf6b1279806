import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Listening {
  port: number
  /** Ends every connection, open requests included. */
  close(): Promise<void>
  closeIdle(): void
}

/** Listens on both loopback addresses, as clients may take either for `localhost`. Port 0 is a free one. */
export async function listen(listener: RequestListener, port = 0): Promise<Listening> {
  const servers: Server[] = []
  const close = async () => {
    await Promise.all(
      servers.splice(0).map(async (server) => {
        const closed = once(server, 'close')
        server.close()
        server.closeAllConnections()
        await closed
      }),
    )
  }
  const bind = async (host: string, port: number) => {
    const server = createServer({ keepAliveTimeout: 0 }, listener)
    server.listen(port, host)
    await once(server, 'listening')
    servers.push(server)
    return (server.address() as AddressInfo).port
  }
  for (let tries = 1; ; tries++) {
    const bound = await bind('127.0.0.1', port)
    try {
      await bind('::1', bound)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      if (code === 'EADDRINUSE') {
        await close()
        if (port === 0 && tries < 10) continue
        throw error
      }
      if (code !== 'EADDRNOTAVAIL' && code !== 'EAFNOSUPPORT') throw error
    }
    return {
      port: bound,
      close,
      closeIdle: () => {
        for (const server of servers) server.closeIdleConnections()
      },
    }
  }
}
