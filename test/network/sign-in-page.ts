/** A page of a browser under automation; what `test/engines` gives fits. */
export interface DrivenPage {
  waitUrl(url: RegExp): Promise<unknown>
  eval<R, A>(run: (argument: A) => R | Promise<R>, argument: A): Promise<R>
}

export interface SignInAnswers {
  password: string
  /** Typed when the page asks for it: it does so when there was no `login_hint`. */
  handle?: string
  /** Default `Authorize`. */
  decision?: 'Authorize' | 'Deny access'
}

/**
 * Answers the sign-in and consent pages of a PDS in a page that is there or on its way there. Resolves once the decision
 * is made; the page then goes to the redirect URI. Rejects with the message of the page if it refuses the password.
 */
export async function answerSignIn(page: DrivenPage, answers: SignInAnswers): Promise<void> {
  await page.waitUrl(/\/oauth\/authorize\?/)
  await page.eval(answerInPage, answers)
}

/** Runs inside the page, and so refers to nothing outside itself. Works from any step of the page. */
function answerInPage({ handle, password, decision = 'Authorize' }: SignInAnswers): Promise<void> {
  return new Promise((resolve, reject) => {
    let submitted = false
    let welcomed = false

    // The page is a React app: only the native setter makes it notice a value.
    const fill = (input: HTMLInputElement, value: string) => {
      Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value')?.set?.call(input, value)
      input.dispatchEvent(new Event('input', { bubbles: true }))
    }
    const button = (text: string) =>
      [...document.querySelectorAll('button')].find(
        ({ textContent, disabled }) => textContent === text && !disabled,
      )

    // It shows the decision for half a second before it leaves.
    const setTimer = window.setTimeout
    window.setTimeout = ((run: () => void, delay: number) =>
      setTimer(run, delay === 500 ? 0 : delay)) as typeof setTimer

    const step = () => {
      const decide = button(decision)
      const field = document.querySelector<HTMLInputElement>('input[name="password"]')
      const signIn = button('Sign in')
      const alert = document.querySelector('[role="alert"]')?.textContent
      if (decide) {
        finish()
        decide.click()
        resolve()
      } else if (submitted && alert) {
        finish()
        reject(new Error(alert))
      } else if (field && signIn && !submitted) {
        submitted = true
        const username = document.querySelector<HTMLInputElement>('input[name="username"]')
        if (username && !username.readOnly && handle) fill(username, handle)
        fill(field, password)
        signIn.click()
      } else if (signIn && !field && !welcomed) {
        welcomed = true
        signIn.click()
      }
    }
    const observer = new MutationObserver(step)
    const limit = setTimer(() => {
      finish()
      reject(new Error(`The sign-in page is stuck: ${document.querySelector('#root')?.textContent}`))
    }, 15_000)
    const finish = () => {
      observer.disconnect()
      clearTimeout(limit)
    }
    observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true })
    step()
  })
}
