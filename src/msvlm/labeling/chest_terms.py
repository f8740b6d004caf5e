"""The words that name each of the 18 chest findings, and the context that they require or exclude."""

from msvlm.labeling.terms import Terms, make_term

_SLIGHTLY = (
    r"(?:\s+(?:not|slightly|mildly|minimally|moderately|markedly|severely|significantly|borderline|clearly|above))*"
)
_CALCIFIED = r"calcifi\w*|calcific|calcium|athero\w*|arterioscler\w*|plaques?"
_CORONARY = r"coronar|\blad\b|\brca\b|circumflex|\blmca\b"
_ARTERY = r"aort|arter(?!iole)|vascular|vessel|carotid|subclavian|brachiocephalic|supraaortic|iliac|main\s+vascular"
_NOT_ARTERY = (
    r"pleural|abdominal|anterior\s+descending|lymph|nodul|parenchym|liver|spleen|bronch|trache|valv|mitral|kidney"
    r"|costal|thyroid|pericard"
)
_OTHER_ORGAN = (
    r"thyroid|liver|hepat|spleen|splen|kidney|renal|adrenal|breast|pancrea|gall|prostat|ovar|\buter|vertebra|\bbone"
    r"|axill|subcutan|periton|oment|mesent|muscle|\bskin|gland|isthmus|mediastin|adipose|abdominal\s+wall|stomach|gastric"
    r"|parotid"
)
_LUNG = (
    r"lungs?\b|pulmon|parenchymal\s+nod|(?:upper|middle|lower)\s+lobe|lingul|fissure|subpleural|bronch|apex|apical"
    r"|apices|hemithora|basal"
)
_OTHER_FINDING = r"sequel|fibro|band|atelec|consolid|mosaic|pleuroparenchym|pleural|nodul|\bfat\b|\bfatty|thym|emphysem"
"""Names of other findings, with which "density" is not a lung opacity."""

TERMS = Terms(
    (
        make_term(
            "medical_material",
            r"""\b(?:catheters?|pacemakers?|pace\s*maker|electrodes?|leads?|stents?|prosthe\w+|sutures?|suturing|clips?|cannulas?|tubes?
        |implanted|screws?|grafts?|coils?|ports?|porta|devices?|wires?|metallic|metal|surgical\s+material\w*|medical\s+material\w*
        |suture\s+material\w*|sternotom\w+|cerclage|filters?|drains?|icd|fixat\w+|operation\s+materials?|valve\s+replacement)\b""",
            unless=r"metallic\s+artifact|portal|support",
        ),
        make_term(
            "arterial_wall_calcification", rf"\b(?:{_CALCIFIED})\b", needs=_ARTERY, unless=_NOT_ARTERY + "|" + _CORONARY
        ),
        make_term(
            "arterial_wall_calcification",
            rf"\b(?:{_CALCIFIED})\b",
            needs=r"aort|main\s+vascular|mediastinal\s+vascular|subclavian|carotid|arch\b|supraaortic|iliac|thoracic\s+art",
            unless=r"aortic\s+valve|abdominal\s+aort|lymph|anterior\s+descending",
        ),
        make_term(
            "arterial_wall_calcification",
            rf"\b(?:{_CALCIFIED})\b",
            needs=r"\baortic\s+arch|\barch\b|\b(?:ascending|descending|thoracic)\b[^;.]*\baort|thoraco-?\s?abdominal\s+aort",
            unless=r"lymph|nodul|anterior\s+descending",
        ),
        make_term(
            "arterial_wall_calcification",
            r"\batherosclerotic\s+changes\b|\bcalcifi\w+\s+atheroma\w*",
            unless=_ARTERY + "|" + _CORONARY,
        ),
        make_term("cardiomegaly", r"\bcardiomegaly\b|\bcardiac\s+enlargement\b|\bctr\s+increase\w*"),
        make_term(
            "cardiomegaly",
            rf"""\b(?:heart|cardiac):?(?:\s+(?:sizes?|dimensions?|silhouette|contours?|shadow|diameters?|and|,))*
        (?:\s+(?:is|are|was|were|has|have|been|appears?|seems?|to|be|in|size))*{_SLIGHTLY}\s+(?:increased|enlarged|larger|large)\b""",
        ),
        make_term(
            "cardiomegaly",
            r"""\b(?:increased?|enlarged|enlargement|increase)\s+(?:in|of)?\s*(?:the\s+)?(?:heart|cardiac|cardiothoracic)\b
        |\b(?:cardiothoracic|ctr|cti)\b[^;,.]{0,40}?\b(?:increase\w*|exceeds?|above|elevated)\b""",
        ),
        make_term(
            "cardiomegaly",
            r"""\b(?:heart|cardiac)\b(?![^;]*(?:increased|enlarged|larger))[^;]{0,60}?\b(?:normal|natural|unremarkable)\b
        |\b(?:normal|natural)\s+(?:heart|cardiac)\b|\b(?:cardiothoracic|ctr)\b[^;]{0,40}?\b(?:normal|natural)\b""",
            unless=r"effusion",
            absent=True,
        ),
        make_term(
            "pericardial_effusion",
            r"""\b(?:pericardi\w+|pleuropericardial)[\s,/-]*(?:(?:and|or|nor)\s+)?(?:(?:minimal|mild|left|right|bilateral|any)\s+)*
        (?:pleural[\s/-]*)?(?:(?:wall\s+)?thickening[\s/-]*)?(?:(?:and|or)\s+)?(?:effusions?|fluid|collection)\b
        |\b(?:effusions?|fluid)\b[^,;]{0,100}?\bpericardi\w+|\bpericardi\w+[^,;]{0,30}\b(?:effusions?|fluid)\b|\bhemopericardium\b""",
        ),
        make_term(
            "coronary_artery_wall_calcification",
            rf"\b(?:{_CALCIFIED})\b",
            needs=_CORONARY,
            unless=r"lymph|paracoronary",
        ),
        make_term(
            "hiatal_hernia",
            r"\bhiat\w+\s+hernia\w*|\bhernia\w*\s+(?:of|through|at)\s+(?:the\s+)?(?:\w+\s+)?hiat\w+|\bh[ıi]atus\s+hernia",
        ),
        make_term(
            "hiatal_hernia",
            r"\bherniat\w*|\bhernia\w*",
            needs=r"hiat|esophag|oesophag|stomach|gastric|diaphragm|sliding",
            unless=r"inguinal|umbilic|ventral|incision|bochdalek|morgagni|lumbar|hiat\w+\s+hernia|disc",
        ),
        make_term(
            "lymphadenopathy",
            r"\blymphadenopath\w*|\blaps?\b|\blymphadenomegal\w*|\badenopath\w*|\blymph\s+nodes?\b(?!\s+stations?)|\blymphadenitis",
            unless=r"intrapulmonary\s+lymph|subpleural|fissur|\(\s*lymph\s+node|axilla|abdom|mesent|\bmeso\b|colon|colic|intraparenchymal\s+lymph",
        ),
        make_term("emphysema", r"\bemphysem\w*|\bbullae?\b|\bbullous\b|\bblebs?\b", unless=r"subcutaneous\s+emphysem"),
        make_term("atelectasis", r"\batelec\w*"),
        make_term(
            "atelectasis",
            r"\bvolume\s+loss\b|\bcollapse\w*",
            needs=r"lobe|lobar|segment",
            unless=r"vertebr|atelec|fibro|sequel|distort",
        ),
        make_term(
            "lung_nodule",
            r"""\b(?:micro)?nodules?\b|\bnodular\s+(?:lesions?|appearances?|formations?|structures?|densit\w+|space|or\s+infiltrative
        |or\s+mass)\b|\bpulmonary\s+nodul\w*""",
            unless=rf"^(?=.*(?:{_OTHER_ORGAN}|hypodense))(?!.*(?:{_LUNG}))|\bpleural\s+nod",
        ),
        make_term(
            "lung_opacity",
            r"""\bground[\s-]*glass\b|\bfrosted\s+glass\b|\bopacit\w*|\bopacificat\w*|\bhazy\s+densit\w*|\bcrazy[\s-]*paving\b""",
            unless=r"ground[\s-]*glass\s+nod|(?:acinar|nodular)\s+opacit",
        ),
        make_term(
            "lung_opacity",
            r"\bpneumonic\s+infiltrat\w*",
            unless=r"(?:compatible|consistent|favou?r|suggest\w*|evaluated|belong\w*|terms|onset)\s+(?:\w+\s+){0,4}?pneumonic",
        ),
        make_term(
            "lung_opacity",
            r"\bdensity\s+increases?\b|\bincreases?\s+in\s+density\b|\bincreased\s+density\b|\bdependent\s+densit\w+",
            needs=r"lung|lobe\b|lobes\b|parenchym",
            unless=rf"{_OTHER_ORGAN}|{_OTHER_FINDING}",
        ),
        make_term(
            "pulmonary_fibrotic_sequela",
            r"""\bsequel\w*|\bfibro(?!us|ad|gland|ma|atelec|id)\w*|\bhoneycomb\w*|\bparenchymal\s+bands?\b|\bfibroatelec\w*
        |\bscar(?:s|red|ring)?\b|\bcicatri\w*""",
            unless=rf"^(?=.*(?:{_OTHER_ORGAN}|\brib|\bhume|fracture|lymph))(?!.*(?:{_LUNG}))",
        ),
        make_term(
            "pleural_effusion",
            r"""\bpleur\w*(?:[\s,/-]+(?:and|or|nor|minimal|mild|any|left|right|bilateral|pericardial|free|wall|thickening))*[\s/-]*
        (?:effusions?|fluid)\b|\b(?:effusions?|fluid)\b[^,;]{0,70}?\bpleura\w*|\b(?:hydro|hemo|haemo|hydropneumo|hydropno)thorax\b
        |\bpleura\w*[^,;]{0,30}\b(?:effusions?|fluid)\b|\bempyema\b""",
            unless=r"pleuropericardial",
        ),
        make_term(
            "pleural_effusion", r"\beffusions?\b", unless=r"pericard|pleur|joint|abdom|periton|renal|nephr|kidney"
        ),
        make_term(
            "mosaic_attenuation_pattern",
            r"\bmosaic\b(?:\s+(?:attenuation|perfusion|pattern|lung))*|\bair[\s-]+trapping\b",
        ),
        make_term(
            "peribronchial_thickening",
            r"""\bperi-?bronch\w*(?:\s+(?:wall|soft|tissue|sheath|vascular|interstiti\w+|cuff\w*|and|interlobular|septal))*\s+
        (?:thick\w*|cuffing|increase)|\bbronch\w*\s+walls?[^,;]{0,30}\bthick\w*|\bthick\w*(?:(?!sept)[^,;]){0,50}\b(?:peri-?bronch\w*|bronch\w*)
        |\bperibronchial\s+cuffing\b|\bperi-?bronch\w*(?:(?!sept)[^,;]){0,40}\bthick\w*""",
            unless=r"lymph",
        ),
        make_term("consolidation", r"\bconsolidat\w*|\bairspace\s+disease\b|\bair-space\s+disease\b"),
        make_term(
            "bronchiectasis",
            r"""\bbronch\w*\s*ecta\w*|\bbronchi?ecta\w*|\bbronch\w*\s+dilat\w*|\bdilat\w*\s+(?:of\s+(?:the\s+)?)?(?:\w+\s+)?bronch\w*
        |\bbronchial\s+structures?[^,;]{0,20}\b(?:dilat\w*|enlarge\w*)|\benlargement\s+(?:of|in)\s+(?:the\s+)?bronch\w*
        |\bectasia\b[^,;]{0,20}\bbronch\w*""",
        ),
        make_term(
            "interlobular_septal_thickening",
            r"""\bsept\w*[^,;]{0,30}\bthick\w*|\bsept\w*(?:\s+and\s+interstitial)?\s+(?:clarif\w*|prominen\w*)
        |\bthick\w*\s+(?:(?:of|in)\s+)?(?:the\s+)?(?:\w+\s+)?sept\w*|\b(?:thick\w*|prominen\w*)[^,;]{0,40}\binter-?lobular\s+sept\w*
        |\bcrazy[\s-]*paving\b""",
            unless=r"bladder|nasal",
        ),
    )
)
