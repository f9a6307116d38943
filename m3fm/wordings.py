"""The words that `m3fm.phrasing` makes questions of: rules, frames, and what the tasks fill the frames with.

A rule is a text of alternatives between bars. `<name>` stands for an alternative of the rule of that name,
`{}` for what a frame asks about, `{bare}` for the same without its article, `{be}` for "is" or "are" and
`{have}` for "has" or "have". A filling of the frame "whole" is a question of its own.
"""

RULES = {
    "scan": """the scan | this scan | the CT | this CT | the chest CT | the study | this exam | the CT scan
        | the examination | the patient's CT | this patient's scan""",
    "images": "the images | these images | the CT images | the slices | the pictures | the lungs",
    "on": """on <scan> | in <scan> | in <images> | here | in this patient | on the current study | at all
        | anywhere | today | in this smoker | after years of smoking | by now | somewhere | in this case""",
    "see": """see | find | detect | notice | identify | spot | recognise | recognize | make out | observe
        | report | discern | pick up | flag | diagnose | encounter | appreciate | perceive""",
    "evidence": """evidence of | any sign of | any evidence of | a suggestion of | a suspicion of | a hint of
        | some indication of | any trace of | an appearance of""",
    "signs": """signs of | indications of | features of | findings of | any signs of | traces of | areas of
        | changes of | patterns of | parts with""",
    "present": """present | visible | seen | apparent | evident | found | detectable | noted | demonstrated
        | discernible | recognizable | obvious | likely | identified""",
    "found": "found | seen | detected | noted | described | reported | observed | diagnosed",
    "check": "check | search | review | examine | look at | inspect | assess | evaluate | screen | read",
    "tell": """tell me | let me know | please tell me | say | could you tell me | can you tell me | please say
        | I want to know | I need to know | determine | decide | please report | it is unclear to me""",
    "show": """show | reveal | contain | demonstrate | display | indicate | suggest | depict | exhibit
        | include | represent | imply | speak for | point to""",
    "patient": """the patient | this patient | the patient | he | she | this man | this woman | the person
        | the smoker | the participant""",
    "whom": "the patient | this patient | him | her | the participant",
    "what": """what is | what's | tell me | give me | please give | state | please state | report | specify
        | describe | could you give me | can you tell me | determine | assess | do you know | I need
        | identify | provide | comment on | characterize | characterise | define | judge | note""",
    "estimate": """estimate | predict | calculate | compute | assess | forecast | give me | tell me | what is
        | what's | please estimate | can you predict | could you give | quantify | evaluate | provide
        | work out | please state | determine | report | rate""",
    "risk": "risk | probability | likelihood | chance | danger | individual risk | absolute risk",
    "horizon": """in the next six years | over the coming years | within 6 years | in 1 to 6 years
        | in the future | within five years | over the next 3 years | in two years | later on | soon""",
    "dying": """death from | dying from | dying of | mortality from | death due to | death caused by
        | death as a result of | mortality due to | death because of""",
    "lobe": """lung | left lung | right lung | right upper lobe | left lower lobe | middle lobe | lower lobes
        | lungs | upper lobes | lung bases | lung apex | pulmonary tissue | lung parenchyma | lower lung""",
    "nodule": """the nodule | the nodule | the lung nodule | the pulmonary nodule | this nodule
        | this lung nodule | that nodule | the lung lesion | the largest nodule | the dominant nodule
        | the nodule in the <lobe> | a nodule like this | the known nodule""",
    # Of the retrieval tasks; <element> and <lasting> are made of the table of clinical elements.
    "relative": "mother | father | brother | sister | child | son | daughter | siblings | parents",
}

ORDERS = """assess | assign | check | classify | confirm | count | decide | determine | estimate | evaluate
    | examine | forecast | grade | inspect | let | locate | look | measure | name | point | please
    | predict | quantify | read | report | review | rule | say | score | screen | search | show | specify
    | state | tell | describe | give | calculate | compute | explain | write | summarise | I | there
    | identify | provide | comment | characterize | characterise | define | judge | note | pinpoint
    | verify | work | rate | find"""
"""First words of what is no question in form: it ends in a full stop."""

FRAMES = {
    "whole": "{}",
    "finding": """{be} there {} | {be} there {} | {be} there {} <on> | is there <evidence> {bare}
        | are there <signs> {bare} | do you <see> {} | do you <see> {} <on> | can you <see> {}
        | could you <see> {} <on> | any {bare} | any {bare} <on> | {bare} | {bare} | {bare} <present>
        | {bare} <on> | {be} {} <present> | {be} {} <present> <on> | {be} {} there | <check> <scan> for {}
        | please <check> <scan> for {bare} | <check> for {bare} | please look for {}
        | <tell> whether there {be} {} | <tell> if there {be} {} | <tell> if you <see> {}
        | does <scan> <show> {} | does <patient> have {} | does <patient> show <signs> {bare}
        | do <images> <show> {} | {have} {} been <found> | would you <see> {} | rule out {bare}
        | can you rule out {bare} | can {} be excluded | {be} {} <present> or absent | <evidence> {bare}
        | <signs> {bare} | is <scan> free of {bare} | {bare}: yes or no | would you say there {be} {}
        | what about {} | could there be {} | could this be {bare} | do the findings <show> {}
        | is <scan> positive for {bare} | I am looking for {} | do you suspect {} | presence of {bare}
        | should I worry about {} | confirm or exclude {bare} | might <patient> have {}
        | are you able to <see> {} | is this {} | how likely is {} | is <patient> suffering from {bare}
        | would a radiologist <see> {} | would a doctor say there {be} {} | has smoking caused {}
        | does it look like {bare} | is it {bare} | {be} {bare} likely | are these changes due to {bare}
        | does the picture fit {bare} | is <scan> consistent with {bare} | is <scan> suggestive of {bare}
        | is <scan> compatible with {bare} | verify the presence of {bare} | have you <found> {}
        | did you <see> {} | is there a chance of {bare} | would you diagnose {bare}
        | do you believe there {be} {} | do any regions <show> {} | does <patient> present with {bare}
        | is <patient> affected by {bare} | do we have {} here | there {be} {}, true or false
        | something like {bare} <on>""",
    "where": """where is {} | where exactly is {} | <what> the location of {} | <what> the position of {}
        | in which part is {} | on which side is {} | in what region is {} | locate {} | please locate {}
        | show me where {} is | tell me where {} lies | where does {} sit | location of {bare}
        | {bare} location | position of {bare} | {bare} position | where can I find {} | point to {}
        | <what> the site of {} | where do you <see> {} | is {} on the left or on the right
        | is {} in the upper or the lower part | in which place is {} | where was {} <found>
        | where is {} located | whereabouts is {} | {}: where | where does {} reside | pinpoint {}
        | identify the location of {} | <what> the coordinates of {} | <what> {}'s location
        | <what> {}'s position | where would I have to look for {} | find {} for me""",
    "size": """how big is {} | how large is {} | how wide is {} | how long is {} | <what> the size of {}
        | <what> the diameter of {} | <what> the dimensions of {} | <what> the longest axis of {} | measure {}
        | please measure {} | how many millimeters is {} | how many millimetres does {} measure
        | how many mm is {} | how many cm is {} | size of {bare} | {bare} size | {bare} diameter
        | diameter of {bare} | is {} bigger than 6 mm | is {} larger than 2 cm | is {} smaller than 1 cm
        | is {} over 30 mm | is {} large or small | what does {} measure | <what> the length of {}
        | how small is {} | what size is {} | what size has {} | <what> the measurement of {}
        | estimate the size of {} | <what> the greatest extent of {} | {bare} in mm | how thick is {}
        | <what> {}'s size | <what> {}'s diameter | {}'s size | is {}'s diameter over 8 mm
        | how big would you say {} is | how many millimeters across is {} | <what> the approximate size of {}
        | what dimensions has {} | into what size class does {} fall""",
    "attenuation": """<what> the density of {} | <what> the attenuation of {} | is {} solid | is {} part solid
        | is {} solid or ground glass | is {} of ground glass | is {} ground glass | is {} subsolid
        | how dense is {} | {bare} attenuation | {bare} density | density of {bare} | attenuation of {bare}
        | does {} have a solid component | is {} mixed or solid | what consistency does {} have
        | does {} have ground glass density | is {} hazy | which attenuation has {} | what density has {}
        | how many Hounsfield units has {} | is {} made of fat, fluid or soft tissue | would you call {} solid
        | is {} semisolid, solid or of ground glass | does {} look solid | <what> {}'s attenuation
        | <what> {}'s density | {}'s attenuation | is {}'s density solid or ground glass
        | classify {} as solid or ground glass | what type of attenuation does {} show
        | is {} an opacity of ground glass type | how does {} attenuate | is {} opaque or hazy""",
    "margin": """<what> the margin of {} | <what> the border of {} | <what> the outline of {}
        | <what> the contour of {} | <what> the edge of {} | <what> the margins of {} | is {} spiculated
        | is {} smooth | is {} well defined | is {} lobulated | is {} ill defined
        | are the margins of {} smooth or spiculated | are the borders of {} irregular
        | is the edge of {} sharp | is the rim of {} blurred | does {} have spicules
        | does {} have a smooth surface | {bare} margin | {bare} border | {bare} edges | margins of {bare}
        | contour of {bare} | how sharply is {} outlined | is {} well circumscribed | is {} clearly demarcated
        | does {} have irregular edges | does {} have a poorly defined border | <what> {}'s margin
        | <what> {}'s border | {}'s margins | are {}'s borders sharp | are {}'s edges irregular
        | is {}'s outline smooth | is {}'s boundary smooth or irregular | what boundary does {} have
        | does {} have sharp edges | does {} have spiky edges | are the edges of {} fuzzy
        | <what> the marginal features of {} | does {} have a rough outline | how clear is the border of {}
        | what kind of margin has {} | does {} have spiculated borders""",
    "future": """how likely is <patient> to get {} <horizon> | is {} likely to develop <horizon>
        | <what> <patient>'s risk of {} | <estimate> a {bare} <risk> score
        | how much is <patient> at risk of {} | will {} develop <horizon> | <estimate> the <risk> of {}
        | <estimate> the <risk> of {} <horizon> | how likely is {} <horizon> | how high is the <risk> of {}
        | will <patient> get {} | will <patient> develop {} <horizon> | {bare} risk | {bare} <risk> <horizon>
        | <risk> of {bare} | what are the chances of {} | what are the odds of {}
        | is <patient> likely to develop {} | is <patient> at risk of {}
        | does <patient> have a high risk of {} | could <patient> develop {} <horizon>
        | how probable is {} <horizon> | is the <risk> of {} high or low | outlook for {bare} <horizon>
        | will {} be diagnosed <horizon> | will {} occur <horizon> | when will <patient> get {}
        | <patient>'s <risk> of {bare} | how great is the <risk> of getting {}
        | is {} to be expected <horizon>""",
    "death": """prognosis regarding {bare} deaths | how much is <patient> at risk of <dying> {}
        | chance of fatal {bare} | is fatal {bare} likely <horizon> | how likely is <patient> to die of {}
        | outlook regarding <dying> {} | <estimate> the <risk> of <dying> {}
        | <estimate> the <risk> of <dying> {} <horizon> | how likely is <dying> {} | will <patient> die of {}
        | will <patient> die from {} <horizon> | could <patient> die of {} | {bare} mortality
        | {bare} death risk | {bare} mortality risk | how high is the <risk> of <dying> {}
        | is <patient> likely to die from {} | <estimate> {bare} mortality <horizon> | mortality of {bare}
        | what are the odds of <dying> {} | is {} going to kill <whom> | is <patient> at risk of <dying> {}
        | <dying> {} <horizon> | how probable is it that <patient> dies from {}
        | <what> the <risk> that <patient> will die of {} <horizon>""",
    "category": """<what> the {bare} | which {bare} is this | which {bare} applies | {bare} | {bare}
        | what {bare} would you give | assign {} | please assign the {bare} | what is the patient's {bare}
        | <what> the {bare} of this report | how do you rate this by {bare} | classify this by {bare}
        | classify this according to {bare} | grade this exam with {bare} | is it {bare} 3 | is the {bare} 4
        | is this {bare} 2 or 3 | {bare} of the nodule report | what {bare} results
        | score this report with {bare} | what would the {bare} be | {bare} of <scan> | what's the {bare}
        | how does <scan> rank in {bare} | which {bare} should be assigned | <what> the {bare} rating
        | <what> <patient>'s {bare} | compute the {bare} from the report
        | according to {bare}, what is this""",
    "history": """has a diagnosis of {bare} been made | does <patient> have a past history of {bare}
        | does <patient> have a history of {bare} | has {} ever been diagnosed | did <patient> ever have {}
        | has <patient> ever had {} | has <patient> had {} before | any history of {bare}
        | is there a history of {bare} | history of {bare} | did <patient> have {}
        | is <patient> known to have {} | has <patient> suffered from {} | was <patient> diagnosed with {}
        | was <patient> ever treated for {} | previous {bare} | {bare} in the past | has <patient> had {}
        | past medical history of {bare} | is {} mentioned in the record | is {} recorded in the chart
        | was {} diagnosed before | does the history include {} | was there {} in the past
        | has a doctor ever diagnosed {} | did <patient> have {} earlier | was {} ever found in <whom>
        | according to the record, did <patient> have {} | do the notes mention {}
        | did <patient> get {} once""",
    "lasting": """does <patient> have {} | is there {} in the record | has <patient> got {}
        | does <patient> suffer from {}""",
    "onset": """at what age did <patient> get {} | how old was <patient> when {} began
        | at which age was {} found | age at diagnosis of {bare} | when was {} diagnosed, at what age
        | how old was <patient> at the time of {} | age when {bare} was diagnosed | since what age {bare}
        | what age was <patient> when {} was discovered | at how many years was {} diagnosed""",
    "family": """did the patient's <relative> have {} | does the patient's <relative> have {}
        | any {bare} in the <relative> | has the patient's <relative> been diagnosed with {}
        | was the <relative> of the patient ill with {} | did {} occur in the patient's <relative>
        | <relative> with {bare} | is there {} in the family | family history of {bare}""",
}

FILLINGS: dict[str, dict[str, str]] = {
    "nodule_presence": {
        "finding": """a nodule | nodules | a lung nodule | lung nodules | a pulmonary nodule
            | pulmonary nodules | a nodule in the <lobe> | nodules in the <lobe> | a solitary nodule
            | multiple nodules | nodular lesions | a small nodule | suspicious nodules
            | a nodular lesion of the lung | a nodular opacity | a lung lesion | micronodules
            | noncalcified nodules | a coin lesion | a spot on the lung | a round lesion in the <lobe>
            | one or more nodules""",
        "whole": """are the lungs free of nodules | are there no nodules | did you find something nodular
            | is the lung clear of nodules""",
    },
    "nodule_location": {
        "where": "<nodule>",
        "whole": """which lobe contains <nodule> | in which lobe is <nodule> | which lobe is it in, <nodule>
            | <nodule>: which lobe | identify the lobe of <nodule> | <what> the lobar location of <nodule>
            | is <nodule> in the left or the right lung | which lung has <nodule>
            | is <nodule> in the upper, middle or lower lobe | is <nodule> in the right upper lobe
            | name the lobe of <nodule> | what lobe holds <nodule> | does <nodule> lie in the left lower lobe
            | which part of the lung harbours <nodule> | in which segment of the lung is <nodule>
            | the lobe of <nodule>, please | lobe of the nodule""",
    },
    "nodule_attenuation": {"attenuation": "<nodule>"},
    "nodule_margin": {"margin": "<nodule>"},
    "nodule_size": {"size": "<nodule>"},
    "cvd_diagnosis": {
        "finding": """a cardiovascular abnormality | cardiovascular abnormalities
            | an abnormality of the heart | heart disease | cardiac disease | a heart problem
            | cardiovascular disease | vascular disease | coronary calcification | calcified coronary arteries
            | coronary artery disease | cardiomegaly | an enlarged heart | an aortic aneurysm
            | aortic calcification | atherosclerosis | a cardiac abnormality | cardiac abnormalities
            | abnormalities of the great vessels | cvd | abnormal cardiac findings | valve calcification
            | significant cardiovascular findings | a dilated aorta | vascular anomalies | heart defects
            | problems of heart or vessels | a cardiac condition | cardiovascular pathology
            | atherosclerotic disease | a heart-related finding""",
        "whole": """is the heart normal | is the heart abnormal | are heart and vessels normal
            | is the heart enlarged | does the heart look healthy | is the cardiovascular system healthy
            | is the aorta dilated | are the coronary arteries calcified | how does the heart look
            | check the heart | is the cardiovascular system abnormal | do heart and vessels appear abnormal
            | do heart and aorta look diseased | is there a heart-related abnormality
            | is the circulatory system affected | is something wrong with the heart
            | are the cardiac chambers enlarged | assess heart and great vessels | is the aorta abnormal""",
    },
    "cvd_mortality": {
        "death": """cardiovascular disease | heart disease | a heart attack | cardiac disease | cvd
            | heart failure | cardiovascular causes | a cardiovascular event | a cardiac cause
            | vascular disease | coronary disease | cardiac events | a circulatory disease""",
        "whole": """<estimate> the <risk> of cardiovascular death | <estimate> the <risk> of cardiac death
            | <estimate> cardiovascular mortality | will the heart kill <whom> <horizon>
            | <risk> of cardiovascular mortality | cardiac mortality <horizon> | cardiovascular death risk
            | is <patient> at risk of cardiovascular death | how likely is cardiovascular death <horizon>""",
    },
    "lung_cancer_risk": {
        "future": """lung cancer | lung cancer | cancer of the lung | lung carcinoma | a lung cancer
            | bronchial carcinoma | a lung tumor | a lung tumour | pulmonary malignancy | lung malignancy
            | a diagnosis of lung cancer""",
    },
    "atelectasis": {
        "finding": """atelectasis | segmental atelectasis | lobar atelectasis | atelectatic lung | atelectases
            | a collapsed lobe | a collapsed segment | lung collapse | collapse of the <lobe>
            | atelectasis of the <lobe> | lobar collapse | collapsed lung tissue | volume loss of the <lobe>
            | atelectatic changes | an airless lobe | loss of lung volume | subsegmental atelectasis
            | incomplete expansion of the lung | collapse of a segment""",
        "whole": """is the <lobe> collapsed | has a lobe collapsed | is a segment of the lung collapsed
            | did the <lobe> collapse | is the <lobe> atelectatic | is the lung fully expanded""",
    },
    "pleural_thickening_effusion": {
        "finding": """a pleural effusion | pleural effusions | pleural fluid | fluid in the pleural space
            | an effusion | effusions | pleural thickening | a thickened pleura | fluid in the chest cavity
            | pleural disease | thickening of the pleura | pleural plaques | fluid beside the <lobe>
            | water on the lungs | a hydrothorax | bilateral effusions | fluid between lung and chest wall
            | pleural abnormalities | liquid around the lung | fluid around the <lobe> | excess pleural fluid
            | pleural liquid | fluid in the thorax | pleural changes""",
        "whole": """is the pleura thick | is the pleura thickened | is the pleura normal | how is the pleura
            | is the pleura abnormal | does the pleura look normal | assess the pleura""",
    },
    "adenopathy_mass": {
        "finding": """adenopathy | lymphadenopathy | hilar adenopathy | mediastinal lymphadenopathy
            | a mediastinal mass | a hilar mass | enlarged lymph nodes | enlarged nodes
            | lymph node enlargement | enlarged mediastinal nodes | swollen lymph nodes
            | big lymph nodes in the mediastinum | bulky hilar nodes | a mass in the mediastinum
            | a mass at the hilum | mediastinal masses | hilar enlargement | pathological lymph nodes
            | nodes over 10 mm | a thymic mass | a mediastinal tumor | abnormal thoracic nodes
            | enlargement of the lymph nodes of the chest""",
        "whole": """are the lymph nodes enlarged | is the mediastinum widened | are the hila enlarged
            | is the mediastinum normal | are the nodes of the mediastinum normal | is the hilum abnormal
            | are the hilar nodes over 1 cm""",
    },
    "chest_wall_abnormality": {
        "finding": """a chest wall abnormality | chest wall abnormalities | a chest wall mass
            | chest wall lesions | a rib lesion | destroyed ribs | rib destruction | bone destruction
            | an abnormal chest wall | rib metastases | metastases of the ribs | chest wall invasion
            | a tumor of the chest wall | an abnormality of the thoracic wall | lytic lesions of the ribs
            | metastasis in the chest wall | a destructive rib lesion | a lesion of the sternum
            | thoracic wall lesions | chest wall disease""",
        "whole": """is the chest wall abnormal | is the chest wall intact | are the ribs destroyed
            | how does the chest wall look | is the thoracic wall normal | are the ribs abnormal
            | assess the chest wall | does the chest wall look healthy | are ribs and sternum normal""",
    },
    "consolidation": {
        "finding": """consolidation | a consolidation | consolidations | airspace consolidation
            | lobar consolidation | airspace opacities | consolidated lung | alveolar filling
            | a consolidated lobe | consolidation of the <lobe> | consolidation in the <lobe>
            | air bronchograms | dense airspace opacification | focal consolidation | areas of consolidation
            | consolidative changes | alveolar opacities | patchy consolidation | airspace filling""",
        "whole": "is the <lobe> consolidated | are the lungs consolidated | is lung tissue consolidated",
    },
    "emphysema": {
        "finding": """emphysema | emphysema | pulmonary emphysema | lung emphysema | emphysematous changes
            | emphysematous lungs | bullae | centrilobular emphysema | paraseptal emphysema
            | panlobular emphysema | bullous changes | emphysema in the <lobe> | emphysematous destruction
            | destroyed alveoli | a bulla | emphysematous lung tissue | hyperinflated lungs
            | overinflation of the lungs | emphysematous areas | severe emphysema | mild emphysema""",
        "whole": """are the lungs emphysematous | is the <lobe> emphysematous | are the lungs hyperinflated
            | is the lung overinflated""",
    },
    "reticular_fibrosis_scar": {
        "finding": """fibrosis | lung fibrosis | pulmonary fibrosis | a scar | scars | scarring
            | lung scarring | honeycombing | reticular opacities | reticulation | interstitial fibrosis
            | fibrotic changes | scar tissue | reticular changes | interstitial lung disease
            | reticulonodular opacities | fibrosis of the <lobe> | scars in the <lobe> | a honeycomb pattern
            | fibrotic lung tissue | interstitial thickening | apical scarring | interstitial changes""",
        "whole": """are the lungs fibrotic | is the <lobe> scarred | is the lung scarred
            | is the <lobe> fibrotic | is the interstitium thickened""",
    },
    "covid19": {
        "finding": """COVID-19 | COVID-19 | COVID | Covid-19 | COVID-19 pneumonia | COVID pneumonia | Covid
            | a COVID-19 infection | coronavirus | SARS-CoV-2 | a SARS-CoV-2 infection | a corona infection
            | coronavirus disease | a coronavirus pneumonia | COVID-19 changes | COVID lung disease
            | an infection with COVID-19""",
        "whole": """is <patient> infected with COVID-19 | is <patient> infected with the coronavirus
            | does this look like COVID | is it COVID-19 | is <patient> COVID positive
            | has <patient> got COVID | would a COVID test be positive | are the changes due to COVID-19
            | is this caused by SARS-CoV-2 | <estimate> the <risk> of COVID-19""",
    },
    "lung_rads": {
        "category": """Lung-RADS | Lung-RADS | Lung-RADS category | Lung-RADS score | Lung RADS | LungRADS
            | Lung-RADS class | Lung-RADS grade | Lung-RADS assessment | Lung RADS category
            | Lung-RADS classification""",
    },
    "clinical_yes_no": {
        "history": "<element>",
        "lasting": "<lasting>",
        "family": "lung cancer",
        "whole": """does <patient> smoke | is <patient> a smoker | is <patient> still smoking
            | a smoker or not | has <patient> stopped smoking | has <patient> given up smoking
            | is <patient> an ex-smoker | did <patient> quit smoking | is <patient> an active smoker
            | is <patient> a current smoker | does <patient> use cigarettes | is <patient> a non-smoker now
            | does <patient> currently smoke | does <patient> smoke cigarettes | is <patient> male
            | is <patient> female | is the patient a man | is the patient a woman
            | is the patient male or female | is it a female patient | is it a male patient | former smoker
            | current smoker""",
    },
    "clinical_number": {
        "onset": "<element>",
        "whole": """how old is <patient> | what age is <patient> | what's the patient's age
            | age of the patient | patient age | <what> the age of <whom> | how many years old is <patient>
            | <what> the patient's age | how tall is <patient> | <what> the height of <whom>
            | <what> the patient's height | height in inches | how many inches tall is <patient>
            | how heavy is <patient> | <what> the weight of <whom> | <what> the patient's weight
            | how much does <patient> weigh | weight in pounds | how many pounds is <patient>
            | how many pack years | how many pack-years | pack years | <what> the number of pack years
            | how many pack years did <patient> smoke | how much has <patient> smoked in pack years
            | cigarettes per day | how many cigarettes a day | how many cigarettes does <patient> smoke daily
            | <what> the daily number of cigarettes | how long ago did <patient> quit smoking
            | how many years since <patient> quit | years since quitting
            | how many years has <patient> been a non-smoker | for how long has <patient> not smoked""",
    },
}
