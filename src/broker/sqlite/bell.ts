/** The bell rung when messages may be taken, or are parked. */
export const bell = "messages";
