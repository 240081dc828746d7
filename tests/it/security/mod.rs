//! What somebody who means harm can do over HTTP: with no key at all, with the key of one organization, and with
//! an account. Each test attacks a server, measures what it takes, and lets another organization ask meanwhile.

mod accounts;
mod answers;
mod bodies;
mod files;
mod floods;
mod gate;
mod grants;
mod masks;
mod oracles;
mod queues;
