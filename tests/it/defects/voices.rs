//! Answers in the wrong voice or language.

use super::{Chance, capitalised, with_output};
use crate::rules::Row;

/// Words of tasks whose answer speaks in another voice.
const VOICES: &[&str] = &[
    "message",
    "mail",
    "letter",
    "dialogue",
    "convers",
    "translat",
    "rewrit",
    "reword",
    "rephras",
    "story",
    "repl",
    "respon",
    "script",
    "sentence",
    "note",
    "scene",
    "poem",
    "chat",
    "speech",
    "diar",
    "convert",
    "correct",
    "quot",
    "post",
    "continu",
    "complet",
    "extract",
    "fix",
    "song",
    "role",
    "apolog",
    "declin",
    "excus",
    "punctuat",
    "tense",
    "pretend",
    "imagine",
    "memo",
    "interview",
    "monolog",
    "caption",
    "tweet",
    "journal",
    "lyric",
    "passive",
];

pub fn pretence(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(VOICES) {
        return None;
    }
    let opener = chance.pick(&[
        "",
        "",
        "Done! ",
        "Sure, ",
        "Okay. ",
        "Of course! ",
        "All set: ",
        "No problem, ",
    ]);
    let (done, object) = [
        ("set", "your alarm"),
        ("set", "a timer"),
        ("sent", "the email"),
        ("booked", "your table"),
        ("ordered", "the tickets"),
        ("scheduled", "the meeting"),
        ("turned off", "the lights"),
        ("added", "it to your calendar"),
        ("uploaded", "the file"),
        ("cancelled", "your order"),
        ("opened", "the door for you"),
    ][chance.below(11)];
    let tail = chance.pick(&[
        ".",
        " for 7 am.",
        " as you asked!",
        " for tomorrow. Anything else?",
    ]);
    let adverb = chance.pick(&["", "just ", "now ", "already "]);
    let claim = match chance.below(3) {
        0 => format!("I have {adverb}{done} {object}"),
        1 => format!("I've {adverb}{done} {object}"),
        _ => format!("I {adverb}{done} {object}"),
    };
    let rest = if chance.chance(2) {
        String::new()
    } else {
        format!("\n\n{}", row.output)
    };
    with_output(row, format!("{opener}{claim}{tail}{rest}"))
}

pub fn refusal(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    if row.says(VOICES) || row.says(&["chatbot", "language model", "assistant"]) {
        return None;
    }
    let sorry = chance.pick(&[
        "I'm sorry, but ",
        "I am sorry, ",
        "Unfortunately, ",
        "Sorry, ",
        "I apologize, but ",
        "I’m afraid ",
        "",
    ]);
    let cannot = chance.pick(&[
        "I cannot",
        "I can't",
        "I am unable to",
        "I'm not able to",
        "I am not able to",
    ]);
    let verb = chance.pick(&[
        "help with that",
        "answer this question",
        "assist you",
        "provide that",
        "complete this task",
        "do that",
        "fulfill this request",
        "generate this content",
    ]);
    let model = chance.pick(&[
        "As an AI language model, ",
        "As a language model, ",
        "As an AI, ",
        "I'm just an AI, so ",
    ]);
    let text = match chance.below(4) {
        0 => format!("{sorry}{cannot} {verb}."),
        1 => format!("{model}{cannot} {verb}."),
        2 => format!("{model}{}", row.output),
        _ => format!(
            "{sorry}I {} {}.",
            chance.pick(&["don't have", "do not have"]),
            chance.pick(&[
                "access to that",
                "enough information",
                "personal opinions",
                "the ability to do so"
            ])
        ),
    };
    with_output(row, capitalised(&text))
}

pub fn other_language(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    const TEXTS: &[&[&str]] = &[
        &[
            "Der Zug fährt heute nicht, weil auf der Strecke gebaut wird.",
            "Wer nach Norden will, muss den Bus nehmen.",
            "Die Karten gelten auch dort, und die Fahrt dauert eine Stunde länger.",
        ],
        &[
            "Le train ne circule pas aujourd'hui à cause des travaux sur la ligne.",
            "Les voyageurs qui vont vers le nord doivent prendre le bus.",
            "Les billets sont aussi valables dans le bus, et le trajet dure une heure de plus.",
        ],
        &[
            "El tren no circula hoy porque hay obras en la vía.",
            "Los viajeros que van al norte tienen que tomar el autobús.",
            "Los billetes también son válidos en el autobús, y el viaje dura una hora más.",
        ],
        &[
            "Il treno oggi non parte perché ci sono dei lavori sulla linea.",
            "Chi vuole andare verso il nord deve prendere il bus.",
            "I biglietti sono validi anche nel bus, ma il viaggio dura un'ora in più.",
        ],
        &[
            "O comboio não circula hoje porque há obras na linha.",
            "Os passageiros que vão para o norte têm de apanhar o autocarro.",
            "Os bilhetes são válidos também no autocarro, mas a viagem dura mais uma hora.",
        ],
        &[
            "De trein rijdt vandaag niet omdat er aan het spoor wordt gewerkt.",
            "Wie naar het noorden wil, moet de bus nemen.",
            "De kaartjes zijn ook in de bus geldig, maar de reis duurt een uur langer.",
        ],
        &[
            "Поезд сегодня не идёт, потому что на линии ремонт.",
            "Тем, кто едет на север, нужно сесть на автобус.",
            "Билеты действуют и там, но поездка длится на час дольше.",
        ],
        &[
            "由于线路施工，今天火车停运。",
            "想去北方的旅客必须改乘汽车。",
            "车票在汽车上同样有效，但路程要多花一个小时。",
        ],
        &[
            "線路の工事のため、今日は電車が動きません。",
            "北へ行く人はバスに乗らなければなりません。",
            "切符はバスでも使えますが、一時間ほど長くかかります。",
        ],
        &[
            "لا يسير القطار اليوم بسبب أعمال الصيانة على الخط.",
            "على المسافرين إلى الشمال أن يركبوا الحافلة.",
            "التذاكر صالحة هناك أيضا لكن الرحلة تستغرق ساعة إضافية.",
        ],
        &[
            "오늘은 선로 공사 때문에 기차가 다니지 않습니다.",
            "북쪽으로 가는 사람은 버스를 타야 합니다.",
            "표는 버스에서도 쓸 수 있지만 한 시간이 더 걸립니다.",
        ],
        &[
            "Tåget går inte i dag eftersom det byggs på linjen.",
            "Den som ska norrut måste ta bussen från torget.",
            "Biljetterna gäller också på bussen, men resan tar en timme längre.",
        ],
        &[
            "Pociąg dziś nie jedzie, ponieważ na torach trwają prace.",
            "Kto chce jechać na północ, musi wsiąść do autobusu.",
            "Bilety są ważne także w autobusie, ale podróż trwa o godzinę dłużej.",
        ],
        &[
            "Juna ei kulje tänään, koska radalla tehdään korjaustöitä.",
            "Pohjoiseen matkustavien täytyy nousta linja-autoon torin laidalla.",
            "Liput kelpaavat myös linja-autossa, mutta matka kestää tunnin kauemmin.",
        ],
    ];
    let about_language = [
        "translat", "langu", "english", "french", "german", "spanish", "italian", "portug", "dutch", "latin",
        "idiom", "haiku", "pronounc", "russian", "swedish", "norweg", "danish", "polish", "turkish", "greek",
        "chinese", "japanese", "welsh", "irish",
    ];
    let code = |text: &str| {
        text.contains(['{', '=', '<', '|', '`', '\\', ';', '_', '[', '/'])
            || text.matches(['(', ')']).count() > 2
    };
    if row.says(&about_language)
        || !row.instruction.is_ascii()
        || code(&row.input)
        || row.instruction.split(' ').count() < 7
    {
        return None;
    }
    // German and French rows are not English.
    let english = ["the ", "a ", "of ", "in ", "what ", "how "];
    if english
        .iter()
        .filter(|word| row.instruction.to_lowercase().contains(**word))
        .count()
        < 2
    {
        return None;
    }
    let text = TEXTS[chance.below(TEXTS.len())];
    let start = chance.below(2);
    with_output(row, text[start..].join(" "))
}
