/** A position as it is stored, whatever it means. */
export type Stored = Readonly<Record<string, string | number | null>>;

/**
 * Why a producer stopped where only a load of the table mends it, kept with its position: what was noticed once may
 * not show any more the next time it is looked for.
 */
export interface StopNote {
  readonly code: string;
  readonly message: string;
  /** When the newest load began that there was then, '' for none: one that began later ends the stop. */
  readonly since: string;
}

/** The position with this note, whichever it had. */
export function withStopNote(stored: Stored, note: StopNote): Stored {
  return { ...stored, stopped: note.code, because: note.message, since: note.since };
}

export function withoutStopNote(stored: Stored): Stored {
  const { stopped: _stopped, because: _because, since: _since, ...position } = stored;
  return position;
}

export function stopNoteOf(stored: Stored | null): StopNote | null {
  const { stopped, because, since } = stored ?? {};
  return typeof stopped === 'string' && typeof because === 'string' && typeof since === 'string'
    ? { code: stopped, message: because, since }
    : null;
}
