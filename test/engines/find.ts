import { existsSync, globSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { chromium, firefox, webkit } from 'playwright'

export type EngineName = 'chromium' | 'firefox' | 'webkit'

export interface Engine {
  readonly name: EngineName
  /** `playwright`: a build Playwright downloaded. `system`: the browser as the distribution ships it. */
  readonly source: 'playwright' | 'system'
  readonly executable: string
}

const onPath = (...names: string[]): string | undefined =>
  names
    .flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name)))
    .find((file) => existsSync(file))

const places: Record<EngineName, { playwright: string; system: () => string | undefined }> = {
  chromium: {
    playwright: chromium.executablePath(),
    system: () => onPath('chromium', 'google-chrome-stable', 'google-chrome'),
  },
  // Stock Firefox and WebKit are started through setpriv.
  firefox: {
    playwright: firefox.executablePath(),
    system: () => (onPath('setpriv') ? onPath('firefox-esr', 'firefox') : undefined),
  },
  // MiniBrowser has to come with its WebDriver and, since it knows no headless mode, with a display.
  webkit: {
    playwright: webkit.executablePath(),
    system: () =>
      onPath('setpriv') && onPath('WebKitWebDriver') && (process.env.DISPLAY || onPath('Xvfb'))
        ? globSync('/usr/{lib,libexec}/{,*/}webkit2gtk-4.*/MiniBrowser')[0]
        : undefined,
  },
}

const known = Object.keys(places) as EngineName[]

/** The engines to test in: all, or those the environment variable ENGINES names (`firefox,webkit`). */
export const askedEngines: readonly EngineName[] = process.env.ENGINES?.split(',').map(named) ?? known

export function findEngine(name: EngineName): Engine | undefined {
  const place = places[name]
  if (existsSync(place.playwright)) return { name, source: 'playwright', executable: place.playwright }
  const executable = place.system()
  return executable === undefined ? undefined : { name, source: 'system', executable }
}

/** Those asked for that are on this machine. */
export function findEngines(): Engine[] {
  return askedEngines.flatMap((name) => findEngine(name) ?? [])
}

function named(text: string): EngineName {
  const name = known.find((engine) => engine === text.trim())
  if (name === undefined) throw new Error(`ENGINES names "${text}"; known are ${known.join(', ')}`)
  return name
}
