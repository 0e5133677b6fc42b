//! Abbreviations and sentence starters of English, for the sentence splitter where no other
//! parameters are given: short lists written by hand from general knowledge.
//!
//! They are for the counts of the published implementation, and so follow the kind of text that its
//! parameters were learned from, newspapers, in two ways. Latin (`e.g.`, `i.e.`, `etc.`), which
//! newspapers do not write, is left out. And a word is an abbreviation only if it is none without
//! its period that ends sentences: `no.` and `mass.` are none.

/// Abbreviations without their last period, in lower case, by subject.
pub const ABBREVIATIONS: &[&str] = &[
    // Titles and degrees.
    "mr mrs ms mme mlle messrs dr drs prof rev hon fr sr jr esq gov sen sens rep reps pres supt gen \
     col maj capt cmdr lt sgt cpl pvt adm brig st ph.d m.d b.a b.s b.sc m.a m.s m.sc m.b.a j.d ll.b \
     d.d.s r.n",
    // Months, weekdays and times of day.
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues thu thur thurs fri a.m p.m a.d b.c \
     b.c.e c.e",
    // Units that are written with a period.
    "oz lb lbs ft yd sq cu hr hrs yr yrs mo mos wk wks m.p.h",
    // Between names.
    "vs v",
    // Countries, states, cities and streets.
    "u.s u.s.a u.k u.n u.s.s.r e.u d.c n.y n.j n.h n.m n.c s.c n.d s.d r.i l.a w.va ala ariz calif \
     colo conn fla ga kan ky md mich minn mont neb nev okla pa penn tenn tex va vt wis wyo ont que \
     ave blvd rd hwy mt mts",
    // Companies and institutions.
    "inc corp co cos ltd bros mfg assn assoc dept univ l.p s.a n.v a.g",
    // References.
    "vol vols ed eds pp ch sec fig figs eq nos approx est",
];

/// Words that begin sentences, and are in lower case within them. None of them is a name, as Will,
/// May or Dr. Who.
pub const STARTERS: &[&str] = &[
    // Articles, demonstratives and quantities.
    "the an this that these those some any each every both many most much several few another \
     other such none less one two three",
    // Pronouns and possessives.
    "i you he she it we they my your his her its our their what which whose someone everyone \
     nobody something everything nothing there here",
    // Conjunctions and adverbs.
    "and but or nor so yet for if when while whenever where wherever although though because since \
     as unless until once after before whether however therefore moreover furthermore meanwhile \
     nevertheless nonetheless thus hence also then now still even instead otherwise besides indeed \
     finally first second third next later today yesterday recently currently perhaps maybe often \
     sometimes usually generally only just again already not never how why rather additionally \
     similarly likewise consequently overall alternatively",
    // Prepositions.
    "in on at by with without from to of about above below under over between among during through \
     throughout within into despite according based given like unlike",
    // Verbs.
    "is are was were be been do does did have has had can could would shall should might \
     must let please see note make use added changed created fixed removed updated",
    // Notices below a name.
    "copyright copying permission subject thanks",
];

/// Of [`STARTERS`], the word that is never in lower case.
pub const ALWAYS_CAPITAL: &str = "i";

/// Letters that with a period are abbreviations: initials of names. The others stand alone more
/// often as words and in messages (a, i, o, u), as labels (a, b), or as symbols (j, q, x). Where to
/// draw the line was decided by how often the number of sentences in prose is the published one.
pub const INITIALS: &str = "cdefghklmnprstvwyz";

/// Letters that are labels in either case: `part b`, `Part B`.
pub const LABELS: &str = "ab";
