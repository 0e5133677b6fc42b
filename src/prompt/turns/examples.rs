//! Worked examples: conversations that go on by each move.

use super::Move;

/// Conversations, each with the move of its last message by the user.
pub(super) const FOLLOW_UPS: &[(Move, &[&str])] = &[
    (
        Move::Ask,
        &[
            "Why does bread rise?",
            "Yeast eats sugar in the dough and gives off carbon dioxide. The gluten holds the gas in bubbles, so the dough \
             grows.",
            "What is gluten, and where does it come from?",
            "It is the stretchy net that two proteins of wheat form once flour meets water and is kneaded.",
        ],
    ),
    (
        Move::Change,
        &[
            "Write an invitation to a house-warming party.",
            "We have finally unpacked! Come and see our new flat on Saturday the 14th from six o'clock. There will be soup, \
             and chairs for nearly everybody.",
            "Make it more formal, please. My boss is invited too.",
            "We should be delighted to welcome you to our new home on Saturday the 14th at six o'clock. A light supper will \
             be served.",
        ],
    ),
    (
        Move::GoOn,
        &[
            "Suggest a title for a talk about bees in cities.",
            "\"Honey from the Roof: How Bees Live Above Our Streets\"",
            "Good. Now three points that the talk should make.",
            "1. Cities bloom longer than fields.\n2. Roofs are quiet and free of pesticides.\n3. Wild bees need nesting sites, \
             not hives.",
        ],
    ),
    (
        Move::Tell,
        &[
            "How long do I have to boil an egg?",
            "Six minutes for a soft yolk, ten for a hard one, counted from when the water boils.",
            "I live at 2,500 metres. Does that change anything?",
            "Yes. Water boils at about 92 °C there, so add a minute or two: eight minutes for a soft yolk, twelve for a hard \
             one.",
        ],
    ),
    (
        Move::Doubt,
        &[
            "Is a tomato a fruit or a vegetable?",
            "Both: botanists call it a fruit, and cooks treat it as a vegetable.",
            "How can it be both? A thing is one or the other.",
            "The two words belong to different systems. A fruit is what grows from a flower and holds the seeds; a vegetable is \
             a plant that is eaten with the main course.",
        ],
    ),
    (
        Move::Turn,
        &[
            "Translate \"Where is the station?\" into Italian.",
            "Dov'è la stazione?",
            "What do trains in Italy usually cost?",
            "Regional trains cost about ten cents a kilometre. Fast trains cost more, and are cheapest when booked weeks ahead.",
        ],
    ),
];
