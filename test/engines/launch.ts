import type { Engine } from './find.ts'
import type { Browser } from './page.ts'
import { launchWithPlaywright } from './playwright.ts'
import { launchStockWebKit } from './webkit-page.ts'

export function launch(engine: Engine): Promise<Browser> {
  const stock = engine.name === 'webkit' && engine.source === 'system'
  return stock ? launchStockWebKit(engine.executable) : launchWithPlaywright(engine)
}
