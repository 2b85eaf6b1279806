// Runs in the page: `page.getBy…` and `userEvent` for the provider beside this file, which knows CSS selectors only.
import {
  convertElementToCssSelector,
  getByAltTextSelector,
  getByLabelSelector,
  getByPlaceholderSelector,
  getByRoleSelector,
  getByTestIdSelector,
  getByTextSelector,
  getByTitleSelector,
  Locator,
  selectorEngine,
} from '@vitest/browser/locators'
import { page, server } from 'vitest/browser'

class CssLocator extends Locator {
  constructor(selector, container) {
    super()
    this._pwSelector = selector
    this._container = container
  }

  get selector() {
    return this.elements()
      .map((element) => convertElementToCssSelector(element))
      .join(', ')
  }

  locator(selector) {
    return new CssLocator(`${this._pwSelector} >> ${selector}`, this._container)
  }

  elementLocator(element) {
    return new CssLocator(selectorEngine.generateSelectorSimple(element), element)
  }
}

const locate =
  (selectorOf) =>
  (...args) =>
    new CssLocator(selectorOf(...args))

page.extend({
  getByAltText: locate(getByAltTextSelector),
  getByLabelText: locate(getByLabelSelector),
  getByPlaceholder: locate(getByPlaceholderSelector),
  getByRole: locate(getByRoleSelector),
  getByTestId: locate((id) => getByTestIdSelector(server.config.browser.locators.testIdAttribute, id)),
  getByText: locate(getByTextSelector),
  getByTitle: locate(getByTitleSelector),
  elementLocator: (element) => new CssLocator(selectorEngine.generateSelectorSimple(element), element),
})
