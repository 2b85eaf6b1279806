/** IndexedDB without the library that is tested. */
export function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  })
}

/** Rejects when somebody keeps the database from being opened or deleted. */
export function unblocked<T>(request: IDBOpenDBRequest & IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
    request.onblocked = () => reject(new Error('Somebody keeps the database open'))
  })
}

export async function within<T>(
  name: string,
  store: string,
  work: (store: IDBObjectStore) => IDBRequest<T>,
): Promise<T> {
  const database = await settled(indexedDB.open(name))
  try {
    return await settled(work(database.transaction(store, 'readwrite').objectStore(store)))
  } finally {
    database.close()
  }
}
