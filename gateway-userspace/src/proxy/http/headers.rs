//! Pure: what a gateway checks and changes in the headers of every message.
